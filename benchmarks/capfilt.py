"""The whole CapFilt job, images a second, beside the same job put together from transformers.

    python benchmarks/capfilt.py [--precision float32 bfloat16 int8] [--workers 1 2] [--small]
        [--save]

ViT-B/16 at 384 pixels and BERT-base, captioner and filter with random weights; nothing is
downloaded. Every image has a web text, gets a synthetic one by nucleus sampling, and both are
scored. Ours is `blip.capfilt.job.run` from shards to shards, ledger and report, with one and
with two workers of a thread each. The peer is the simple loop over the same shards, with as many
threads: for every image `generate`, and the ITM model for each of the two texts; it writes nothing.
A careful peer does both in batches, and encodes an image once for both texts; where ours
computes in bfloat16, or in int8 on a CPU that has bfloat16, a second careful peer computes in
bfloat16. Models are loaded, and have done a first image, before any clock starts. Ours and the
peers take turns; the best of the rounds counts. The last line is one JSON object; its "ratios" are
ours over the simple loop's, with as many workers as it has threads: the last number of workers, and
the first precision.
"""

import argparse
import io
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from capfilt_peer import Peer
from machine import Speedometer, describe
from PIL import Image, ImageFilter
from report import print_and_save
from rich.console import Console
from rich.table import Table
from torch import Tensor

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.capfilt.models.checkpoints import CheckpointModels
from blip.capfilt.models.protocols import Models, Scores
from blip.config.ranges import InferencePrecision
from blip.data.readers.patterns import expand
from blip.data.writers.shards import ShardWriter
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.nn.kernels.onednn import bfloat16_multiplies
from inference import BASE, SMALL, draw, make_text, make_tokenizer, with_modes

BATCH = 4
NEW_TOKENS = 12
DECODING = DecodingConfig(
    kind="nucleus", top_p=0.9, min_length=1 + NEW_TOKENS, max_length=1 + NEW_TOKENS
)
"""Every text has as many tokens, about as many as captions have: both write as much."""
WIDTH, HEIGHT = 500, 375
PRECISIONS: tuple[InferencePrecision, ...] = ("float32", "bfloat16", "int8")


@dataclass(slots=True)
class Ours:
    """The job in one precision."""

    seconds: list[float] = field(default_factory=list)
    in_models: list[float] = field(default_factory=list)
    """Of these seconds, those in the models, a worker on average."""

    @property
    def other_share(self) -> float:
        """Share of the time in which a worker's models do not compute, in the best round."""
        best = self.seconds.index(min(self.seconds))
        return 1.0 - self.in_models[best] / self.seconds[best]


@dataclass(slots=True)
class Case:
    """Ours in each precision, and the peers, with as many workers, or threads."""

    workers: int
    ours: dict[InferencePrecision, Ours]
    peers: dict[str, list[float]]
    """Seconds of each peer by its name."""

    def ratio(self, precision: InferencePrecision, peer: str) -> float:
        """Ours over a peer's, in images a second."""
        return min(self.peers[peer]) / min(self.ours[precision].seconds)


def main() -> int:
    """Measure, print, write."""
    args = parse()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args.small, args.images, Path(name), args.precision)
        cases = [bench.case(workers) for workers in args.workers]
        for _ in range(args.repeats):
            for case in cases:
                bench.measure(case)
    result = summary(cases, args.images, bench.speed)
    console = Console(width=118, record=True)
    show(console, cases, args.images, result)
    print_and_save(result, console, "capfilt-cpu.txt" if args.save else None)
    return 0


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=16, metavar="N", help="(16)")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="rounds of each (2)")
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=["float32"], help="ours (float32)"
    )
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], metavar="N", help="(1 2)")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    return parser.parse_args()


class Bench:
    """Checkpoints and shards on disk, and the peers with the same weights."""

    def __init__(
        self, small: bool, images: int, folder: Path, precisions: Sequence[InferencePrecision]
    ) -> None:
        self.folder, self.images, self.precisions = folder, images, precisions
        config = SMALL if small else BASE
        tokenizer = make_tokenizer(config.text.vocabulary_size, folder)
        self.places: dict[str, str] = {}
        for name, mode in (("captioner", "causal"), ("filter", "bidirectional")):
            place = folder / name
            place.mkdir()
            save_model(draw(Blip(with_modes(config, mode))), tokenizer, place)
            self.places[name] = str(place)
        write_shards(folder / "web", images)
        peer = Peer(self.places, torch.float32, DECODING, BATCH)
        self.loops = {"simple": (peer, peer.simple_loop), "careful": (peer, peer.careful_loop)}
        if "bfloat16" in precisions or ("int8" in precisions and bfloat16_multiplies()):
            peer = Peer(self.places, torch.bfloat16, DECODING, BATCH)
            self.loops["careful_bfloat16"] = (peer, peer.careful_loop)
        self.speed = Speedometer(torch.device("cpu"), torch.float32)

    def case(self, workers: int) -> Case:
        """Nothing measured yet."""
        return Case(
            workers,
            {precision: Ours() for precision in self.precisions},
            {name: [] for name in self.loops},
        )

    def measure(self, case: Case) -> None:
        """One round of all."""
        for precision, ours in case.ours.items():
            seconds, in_models = self.ours(case.workers, precision)
            ours.seconds.append(seconds)
            ours.in_models.append(in_models)
        self.speed.measure()
        threads = torch.get_num_threads()
        torch.set_num_threads(case.workers)
        shards = expand([str(self.folder / "web")])
        for name, (peer, loop) in self.loops.items():
            peer.warm()
            started = time.perf_counter()
            scored = loop(shards)
            case.peers[name].append(time.perf_counter() - started)
            assert scored == 2 * self.images
        torch.set_num_threads(threads)

    def ours(self, workers: int, precision: InferencePrecision) -> tuple[float, float]:
        """Seconds of a job from the moment that all workers are ready, and those in the models."""
        out, notes = self.folder / "out", self.folder / "notes"
        for place in (out, notes):
            shutil.rmtree(place, ignore_errors=True)
        notes.mkdir()
        config = CapFiltConfig(
            captioner=self.places["captioner"],
            filter=self.places["filter"],
            data=(str(self.folder / "web"),),
            out=str(out),
            decoding=DECODING,
            batch_size=BATCH,
            workers=workers,
            device="cpu",
            precision=precision,
        )
        models = ReadyModels(**self.places, notes=str(notes), workers=workers, precision=precision)
        done = run(config, models=models)
        ended = time.time()
        assert done.counts.images == self.images
        assert done.counts.records == 2 * self.images
        started = max(float(path.read_text()) for path in notes.glob("ready-*"))
        spent = [float(path.read_text()) for path in notes.glob("spent-*")]
        return ended - started, sum(spent) / workers


@dataclass(frozen=True)
class ReadyModels:
    """Models of a job; a worker's have done an image, and wait for the others, before it begins."""

    captioner: str
    filter: str
    notes: str
    workers: int
    precision: InferencePrecision

    def fingerprints(self) -> tuple[str, str]:
        """Names will do: the files are ours."""
        return "captioner", "filter"

    def batch_size(self) -> int:
        """As both are measured."""
        return BATCH

    def default_workers(self, batch_size: int) -> int:
        """As many as are waited for."""
        return self.workers

    def load(self, place: int, expected: tuple[str, str]) -> Models:
        """Load, warm up, note the time, wait."""
        source = CheckpointModels(
            captioner=self.captioner,
            filter=self.filter,
            decoding=DECODING,
            captions=1,
            captioner_device="cpu",
            filter_device="cpu",
            precision=self.precision,
        )
        models, notes = source.load(place, source.fingerprints()), Path(self.notes)
        side = models.captioner.image_size
        models.captioner.caption([torch.zeros(3, side, side)] * BATCH, [[0]] * BATCH)
        models.filter.begin([torch.zeros(3, side, side)] * BATCH, [["w300 w301"] * 2] * BATCH)()
        note(notes / f"ready-{place}", time.time())
        while len(list(notes.glob("ready-*"))) < self.workers:
            time.sleep(0.01)
        return Models(
            Timed(models.captioner, notes / f"spent-{place}-captioner"),
            Timed(models.filter, notes / f"spent-{place}-filter"),
        )


def note(path: Path, value: float) -> None:
    """Write a number so that it is never seen in part."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(repr(value))
    beside.replace(path)


class Timed:
    """A model that notes how long it has computed in all."""

    def __init__(self, inner: Any, place: Path) -> None:
        self.inner, self.place, self.seconds = inner, place, 0.0

    @property
    def image_size(self) -> int:
        """Of the model."""
        return self.inner.image_size

    def caption(self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        """As the captioner does."""
        return self._time(lambda: self.inner.caption(images, seeds))

    def begin(
        self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
    ) -> Callable[[], Scores]:
        """As the filter does."""
        begun = self._time(lambda: self.inner.begin(images, texts))
        return lambda: self._time(begun)

    def _time(self, work: Any) -> Any:
        started = time.perf_counter()
        found = work()
        self.seconds += time.perf_counter() - started
        note(self.place, self.seconds)
        return found


def write_shards(folder: Path, images: int) -> None:
    """Pictures as large as those of Flickr8k, with a text each, a batch a shard."""
    generator = np.random.default_rng(0)
    for start in range(0, images, BATCH):
        with ShardWriter(folder / f"{start:05d}.tar") as writer:
            for number in range(start, min(start + BATCH, images)):
                pixels = generator.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
                picture = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(4))
                buffer = io.BytesIO()
                picture.save(buffer, "JPEG", quality=90)
                text = make_text(number, 8 + number % 12)
                writer.write(f"{number:06d}", buffer.getvalue(), "jpg", text, {})


def summary(cases: Sequence[Case], images: int, speed: Speedometer) -> dict[str, Any]:
    """What the last line says."""
    last = cases[-1]
    first = next(iter(last.ours))
    return {
        "ratios": {"capfilt": round(last.ratio(first, "simple"), 2)},
        "more_ratios": {
            f"workers_{case.workers}_{precision}_over_{peer}": round(case.ratio(precision, peer), 2)
            for case in cases
            for precision in case.ours
            for peer in case.peers
        },
        "images_per_second": {
            f"workers_{case.workers}": {
                name: {
                    "best": round(images / min(seconds), 3),
                    "seconds": [round(s, 2) for s in seconds],
                }
                for name, seconds in (
                    *((name, ours.seconds) for name, ours in case.ours.items()),
                    *case.peers.items(),
                )
            }
            for case in cases
        },
        "share_not_in_models": {
            f"workers_{case.workers}_{precision}": round(ours.other_share, 4)
            for case in cases
            for precision, ours in case.ours.items()
        },
        "images": images,
        "rounds": len(last.ours[first].seconds),
        "gflop_per_second": round(speed.operations_per_second / 1e9, 1),
        "gbyte_per_second": round(speed.bytes_per_second / 1e9, 1),
        **describe(torch.device("cpu"), torch.float32, ("torch", "transformers")),
    }


def show(console: Console, cases: Sequence[Case], images: int, result: dict[str, Any]) -> None:
    """The table."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; {versions}\n"
        f"matrix products {result['gflop_per_second']:.0f} GFLOP/s in float32, reading memory "
        f"{result['gbyte_per_second']:.0f} GB/s\n"
        f"{images} images, two texts each; best of {result['rounds']} rounds",
        highlight=False,
    )
    table = Table(caption="each peer in images/s, and how many times as fast ours is")
    for heading in ("workers, or threads", "ours", "images/s", "not in the models"):
        table.add_column(heading, justify="right")
    for peer in cases[0].peers:
        table.add_column(f"{peer.replace('_', ' ')} peer", justify="right")
    for case in cases:
        for precision, ours in case.ours.items():
            table.add_row(
                str(case.workers),
                precision,
                f"{images / min(ours.seconds):.3f}",
                f"{100 * ours.other_share:.1f} %",
                *(
                    f"{images / min(seconds):.3f}: {case.ratio(precision, peer):.2f}"
                    for peer, seconds in case.peers.items()
                ),
            )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
