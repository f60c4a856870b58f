"""Does memory stay flat over a job of 1000 shards? One worker, in this process, real models.

python experiments/capfilt_robustness/flat_memory.py --out runs/flat-memory --save
"""

import argparse
import io
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.engine.local import InlineEngine
from blip.capfilt.engine.protocol import Done, Item, MakeWorker, Outcome, Result
from blip.capfilt.job import run
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import ShardWriter
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.processes import most_memory
from blip.reports.origin import origin

HERE = Path(__file__).parent
TEXTS = ("a red square", "a green circle", "two blue stars on a field", "buy it now", "IMG 2041")
MOMENTS = (50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
MEGABYTE = 1 << 20


def main() -> int:
    """Run, and write flat_memory.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--shards", type=int, default=1000, metavar="N", help="(1000)")
    parser.add_argument("--samples", type=int, default=16, metavar="N", help="a shard (16)")
    parser.add_argument("--save", action="store_true", help="write flat_memory.json")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    models = write_models(args.out)
    write_shards(args.out / "web", args.shards, args.samples)
    engine = Watched()
    config = CapFiltConfig(
        **models,
        data=(str(args.out / "web"),),
        out=str(args.out / "clean"),
        batch_size=8,
        workers=1,
        device="cpu",
    )
    started = time.monotonic()
    summary = run(config, engine=engine)
    peaks = {str(n): round(engine.peaks[n - 1], 1) for n in MOMENTS if n <= len(engine.peaks)}
    first, last = engine.peaks[len(engine.peaks) // 10], engine.peaks[-1]
    result = {
        "shards": summary.shards,
        "images": summary.counts.images,
        "peak_megabytes_after_shards": peaks,
        "grown_megabytes_behind_the_first_tenth": round(last - first, 1),
        "seconds": round(time.monotonic() - started, 1),
        "torch": torch.__version__,
        **origin(HERE),
    }
    print(json.dumps(result))
    if args.save:
        path = HERE / "flat_memory.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


class Watched:
    """One item after the other, here; notes the peak of memory after each."""

    def __init__(self) -> None:
        self.peaks: list[float] = []

    def run(
        self, items: Sequence[Item], make_worker: MakeWorker[Item, Result]
    ) -> Iterator[Outcome[Item, Result]]:
        """All of them."""
        for outcome in InlineEngine().run(items, make_worker):
            if isinstance(outcome, Done):
                self.peaks.append((most_memory() or 0) / MEGABYTE)
            yield outcome


def write_models(folder: Path) -> dict[str, Any]:
    """Captioner and filter of the smallest size."""
    tokenizer = Tokenizer.train(list(TEXTS), vocabulary_size=80)
    text = TextConfig(
        vocabulary_size=tokenizer.vocabulary_size,
        width=32,
        depth=2,
        heads=2,
        mlp_width=64,
        positions=40,
    )
    vision = VisionConfig(image_size=32, patch_size=16, width=32, depth=2, heads=2)
    places = {}
    for seed, name in enumerate(("captioner", "filter")):
        torch.manual_seed(seed)
        place = folder / name
        place.mkdir()
        save_model(Blip(ModelConfig(vision=vision, text=text, projection=16)), tokenizer, place)
        places[name] = str(place)
    return places


def write_shards(folder: Path, shards: int, samples: int) -> None:
    """Pictures of several sizes, all different."""
    rng = np.random.default_rng(0)
    for shard in range(shards):
        with ShardWriter(folder / f"{shard:05d}.tar") as writer:
            for number in range(samples):
                side = int(rng.integers(40, 200))
                pixels = rng.integers(0, 255, (side, side, 3), np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "JPEG")
                text = TEXTS[number % len(TEXTS)]
                writer.write(f"{shard:05d}{number:03d}", buffer.getvalue(), "jpg", text, {})


if __name__ == "__main__":
    sys.exit(main())
