"""Plant 100 000 bad samples, run the job, and look each of them up in the ledger.

python experiments/capfilt_robustness/bad_data.py --out runs/bad-data
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from plant import KINDS, Planted, sound, write_shard
from stand_ins import StandIns

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.capfilt.ledger.files import read_rows
from blip.log import say
from blip.reports.origin import origin

PER_SHARD = 1000
SOUND_EVERY = 10
HERE = Path(__file__).parent


def main() -> int:
    """Plant, run, look up, and write bad_data.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--bad", type=int, default=100_000, metavar="N", help="(100 000)")
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--save", action="store_true", help="write bad_data.json beside this file")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    started = time.monotonic()
    planted, kinds = plant(args.out / "web", args.bad)
    config = CapFiltConfig(
        captioner="stand-in",
        filter="stand-in",
        data=(str(args.out / "web"),),
        out=str(args.out / "clean"),
        batch_size=64,
        workers=args.workers,
    )
    summary = run(config, models=StandIns())
    missing, wrong = look_up(planted, args.out / "clean/ledger")
    counts = summary.counts
    result = {
        "planted": sum(kinds.values()),
        "kinds": dict(kinds),
        "sound": sum(len(of_shard) for of_shard in planted.values()) - sum(kinds.values()),
        "images": counts.images,
        "images_kept": counts.images_kept,
        "images_dropped": counts.images_dropped,
        "images_bad": counts.images_bad,
        "reasons": dict(counts.reasons.most_common()),
        "not_in_the_ledger": missing,
        "with_another_reason": wrong,
        "seconds": round(time.monotonic() - started, 1),
        **origin(HERE),
    }
    print(json.dumps(result))
    if args.save:
        (HERE / "bad_data.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    # Of a key that is there twice, the first one is sound.
    assert counts.images == result["planted"] + result["sound"] + kinds["a key twice"]
    assert counts.images == counts.images_kept + counts.images_dropped + counts.images_bad
    return 1 if missing or wrong else 0


def plant(folder: Path, bad: int) -> tuple[dict[str, list[Planted]], Counter[str]]:
    """Shards of bad samples of all kinds in turn, sound ones between; and how many of each."""
    kinds: Counter[str] = Counter()
    names = list(KINDS)
    rng = np.random.default_rng(0)

    def samples(shard: int, size: int) -> Iterator[Planted]:
        for number in range(size):
            key = f"{shard:05d}{number:05d}"
            name = names[number % len(names)]
            kinds[name] += 1
            yield KINDS[name](key, rng)
            if number % SOUND_EVERY == 0:
                yield sound(f"{key}-sound", rng)

    planted = {}
    for shard, start in enumerate(range(0, bad, PER_SHARD)):
        path = folder / f"{shard:05d}.tar"
        planted[path.stem] = write_shard(path, samples(shard, min(PER_SHARD, bad - start)))
    return planted, kinds


def look_up(planted: dict[str, list[Planted]], ledger: Path) -> tuple[int, int]:
    """How many samples the ledger does not name, and of how many it gives another reason."""
    missing = wrong = 0
    for name, samples in planted.items():
        found: dict[str, set[str]] = {}
        for row in read_rows([ledger / f"{name}.parquet"], ["key", "reason"]):
            found.setdefault(row["key"], set()).add(row["reason"])
        for sample in samples:
            reasons = found.get(sample.key)
            if reasons is None:
                missing += 1
                say(f"{name}: {sample.key} is not in the ledger")
            elif not reasons & sample.reasons:
                wrong += 1
                say(f"{name}: {sample.key} has {reasons}, not {set(sample.reasons)}")
    return missing, wrong


if __name__ == "__main__":
    sys.exit(main())
