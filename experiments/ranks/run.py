"""One epoch of the built-in data over 1, 2 and 4 processes: does it end with the same scores?

    python experiments/ranks/run.py --demo runs/demo --out runs/ranks

`--demo` is the folder of a finished `blip demo`. An epoch is trained from the weights of its
pre-training, where scores mean more than after an epoch from nothing; the same with other seeds
tells what noise is. Writes results.json beside this file.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from blip.config import strict
from blip.data.examples.pairs import PairExamples
from blip.data.loader import Loader
from blip.data.tokenizer import Tokenizer
from blip.files import write_json
from blip.reports.origin import origin
from blip.tasks.config import PretrainConfig

HERE = Path(__file__).parent
KINDS = (("ddp", 1), ("ddp", 2), ("ddp", 4), ("fsdp", 2))
SEEDS = (1, 2)


def main() -> int:
    """Train what is not there yet, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    first = args.demo / "round-1" / "pretrain"
    config = strict.from_json(PretrainConfig, strict.load_json(first / "config.json"))
    examples = PairExamples(config.data, Tokenizer.load(config.tokenizer))
    epoch = Loader(config.data, examples).steps_per_epoch
    rows = []
    for kind, ranks in KINDS:
        rows.append(row(args, short(config, str(first), epoch, kind), f"{kind}-{ranks}", ranks))
    for seed in SEEDS:
        other = short(config, str(first), epoch, "ddp")
        other = replace(
            other,
            data=replace(other.data, seed=seed + 100),
            train=replace(other.train, seed=seed + 100),
        )
        rows.append(row(args, other, f"seed{seed}", 1))
    write_json(HERE / "results.json", {"rows": rows, "steps": epoch, **origin(HERE)})
    return 0


def short(config: PretrainConfig, init: str, steps: int, kind: Any) -> PretrainConfig:
    """An epoch at a constant rate."""
    optimizer = replace(config.train.optimizer, schedule="constant", lr=5e-4, warmup_steps=20)
    train = replace(config.train, steps=steps, optimizer=optimizer, parallel=kind)
    return replace(config, init=init, train=train)


def row(args: argparse.Namespace, config: PretrainConfig, name: str, ranks: int) -> dict[str, Any]:
    """Train over so many processes and evaluate the result."""
    out = args.out / name
    strict.save(config, args.out / f"{name}.json")
    blip = ["-m", "blip", "pretrain", str(args.out / f"{name}.json"), "--out", str(out)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    subprocess.run([sys.executable, *torchrun, *blip], check=True)
    test = ["--data", str(args.demo / "data" / "test"), "--candidates", "32", "--json"]
    evaluated = subprocess.run(
        [sys.executable, "-m", "blip", "evaluate", str(out), *test],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    found = {"name": name, "processes": ranks, "loss": last["loss"]}
    found |= json.loads(evaluated.stdout)["retrieval"]
    print(
        " ".join(
            f"{key} {value if isinstance(value, str | int) else round(value, 3)}"
            for key, value in found.items()
        )
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
