"""Pictures a second and core, decoded and augmented, beside WebDataset with Pillow in the same run.

    python benchmarks/data.py [--images 200] [--rounds 5] [--small] [--save]

Both read the same shards from disk, in one process with one thread, and make arrays of 224 x 224
pixels for pre-training: a random crop of 20 to 100 % of the area, a flip, RandAugment with two
operations at even odds. The pictures are drawn: three in four have the size of pictures on the web,
about 640 x 480 pixels, one in four about 1500 x 1000. Ours is the stream of `Loader`, with its
shuffling, cleaning of texts and checks. The peer decodes JPEGs as small as its crops allow, as ours
does. Ours and the peer take turns; the best of the rounds counts for either. The last line is one
JSON object; its "ratios" are ours over the peer's for all of them.
"""

import argparse
import io
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import data_peer
import numpy as np
import torch
from machine import describe
from PIL import Image
from report import print_and_save
from rich.console import Console
from rich.table import Table

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.pairs import PairExamples
from blip.data.images import simplejpeg
from blip.data.loader import make_rows
from blip.data.order.streamed import StreamedOrder
from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards

KINDS = {"web": (640, 480), "large": (1500, 1000)}
PER_SHARD = 50
QUALITY = 85
BATCH = 32


@dataclass(slots=True)
class Case:
    """Pictures of one kind, and how long either took for all of them."""

    name: str
    folder: Path
    images: int
    megabytes: float
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    same: bool = True


def main() -> int:
    """Measure, print, write."""
    args = parse()
    torch.set_num_threads(1)
    config = ImageConfig(size=32 if args.small else 224)
    with tempfile.TemporaryDirectory() as folder:
        cases = prepare(Path(folder), args.images, 8 if args.small else 1)
        for number in range(args.rounds + 1):
            for case in cases:
                measure(case, config, number, Path(folder))
    packages = ("pillow", "simplejpeg", "webdataset", "torch")
    environment = describe(
        torch.device("cpu"), torch.uint8, packages if simplejpeg else (packages[0], *packages[2:])
    )
    result = summary(cases, environment)
    console = Console(width=110, record=True)
    show(console, cases, result)
    print_and_save(result, console, "data.txt" if args.save else None)
    return 0 if result["same_samples"] else 1


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=200, metavar="N", help="pictures drawn (200)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of each (5)")
    parser.add_argument("--small", action="store_true", help="tiny pictures: does it run?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    return parser.parse_args()


def prepare(folder: Path, images: int, divisor: int) -> list[Case]:
    """Shards of each kind."""
    counts = {"web": images - images // 4, "large": images // 4}
    cases = []
    for name, (width, height) in KINDS.items():
        samples = [
            Sample(
                f"{name}{n}",
                draw(width // divisor, height // divisor, n),
                (f"A drawn picture, number {n}.",),
                {"width": width, "height": height, "url": f"https://example.com/{n}.jpg"},
            )
            for n in range(counts[name])
        ]
        write_shards(samples, folder / name, PER_SHARD)
        taken = sum(len(sample.image or b"") for sample in samples)
        cases.append(Case(name, folder / name, len(samples), taken / 1e6))
    return cases


def draw(width: int, height: int, seed: int) -> bytes:
    """A JPEG of soft forms, hard edges and grain, whose size in bytes is that of a photo's."""
    rng = np.random.default_rng(seed)
    # Sizes on the web vary, and every other picture stands upright.
    width, height = (round(side * rng.uniform(0.9, 1.1)) for side in (width, height))
    if seed % 2:
        width, height = height, width
    soft = _resized(rng, max(2, width // 50), max(2, height // 50), width, height)
    grain = _resized(rng, max(2, width // 2), max(2, height // 2), width, height)
    picture = 0.8 * soft + 0.2 * grain
    for _ in range(12):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        right, bottom = left + int(rng.integers(width // 2)), top + int(rng.integers(height // 2))
        picture[top:bottom, left:right] = 0.5 * picture[
            top:bottom, left:right
        ] + 0.5 * rng.integers(0, 255, 3)
    buffer = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _resized(
    rng: np.random.Generator, columns: int, rows: int, width: int, height: int
) -> np.ndarray:
    noise = Image.fromarray(rng.integers(0, 255, (rows, columns, 3), dtype=np.uint8))
    return np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)).astype(float)


def measure(case: Case, config: ImageConfig, number: int, folder: Path) -> None:
    """One round of either; the first warms both up and does not count."""
    data = DataConfig(
        sources=(SourceConfig(name="drawn", shards=(str(case.folder),)),),
        batch_size=1,
        image=config,
        stream="always",
        cache=str(folder / "cache"),
        seed=number,
    )
    order = StreamedOrder(data)
    examples = PairExamples(data, Tokenizer.train(["a drawn picture"], vocabulary_size=100))
    began = time.perf_counter()
    ours = {
        row.example.key
        for start in range(0, case.images, BATCH)
        for row in make_rows(
            order, examples, range(start, min(start + BATCH, case.images)), data.seed
        )
    }
    between = time.perf_counter()
    shards = [str(path) for path in sorted(case.folder.glob("*.tar"))]
    theirs = {key for key, _, _ in data_peer.read(shards, config.size, number)}
    ended = time.perf_counter()
    case.same = case.same and ours == theirs and len(ours) == case.images
    if number:
        case.ours.append(between - began)
        case.peer.append(ended - between)


def summary(cases: list[Case], environment: dict[str, Any]) -> dict[str, Any]:
    """What the last line says."""
    images = sum(case.images for case in cases)
    seconds = {
        "ours": sum(min(case.ours) for case in cases),
        "peer": sum(min(case.peer) for case in cases),
    }
    return {
        "ratios": {"images_per_second": round(seconds["peer"] / seconds["ours"], 2)},
        "more_ratios": {case.name: round(min(case.peer) / min(case.ours), 2) for case in cases},
        "images_per_second_and_core": {
            "all": {name: round(images / taken, 1) for name, taken in seconds.items()},
            **{
                case.name: {
                    "ours": round(case.images / min(case.ours), 1),
                    "peer": round(case.images / min(case.peer), 1),
                    "ours_seconds": [round(taken, 6) for taken in case.ours],
                    "peer_seconds": [round(taken, 6) for taken in case.peer],
                }
                for case in cases
            },
        },
        "same_samples": all(case.same for case in cases),
        **environment,
    }


def show(console: Console, cases: list[Case], result: dict[str, Any]) -> None:
    """The table."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; one thread;\n"
        f"{versions}; best of {len(cases[0].ours)} rounds",
        highlight=False,
    )
    table = Table()
    for heading in ("pictures", "ours", "WebDataset + Pillow", "ratio", ""):
        table.add_column(heading, justify="left" if heading in ("pictures", "") else "right")
    for case in cases:
        width, height = KINDS[case.name]
        ours, peer = case.images / min(case.ours), case.images / min(case.peer)
        table.add_row(
            case.name,
            f"{ours:.1f} images/s",
            f"{peer:.1f}",
            f"{ours / peer:.2f}",
            f"{case.images} of about {width} x {height}, "
            f"{1000 * case.megabytes / case.images:.0f} kB each",
        )
    both = result["images_per_second_and_core"]["all"]
    ratio = result["ratios"]["images_per_second"]
    table.add_row("all", f"{both['ours']:.1f} images/s", f"{both['peer']:.1f}", f"{ratio:.2f}", "")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
