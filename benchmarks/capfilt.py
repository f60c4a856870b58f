"""The whole CapFilt job, images a second, beside the same job put together from transformers.

    python benchmarks/capfilt.py [--small] [--save]

ViT-B/16 at 384 pixels and BERT-base, captioner and filter with random weights; nothing is
downloaded. Every image has a web text, gets a synthetic one by nucleus sampling, and both are
scored. Ours is `blip.capfilt.job.run` from shards to shards, ledger and report, with one and
with two workers of a thread each. The peer is the simple loop over the same shards, with as many
threads: for every image `generate`, and the ITM model for each of the two texts; it writes nothing.
A careful peer calls `generate` for a batch, and encodes an image once for both texts. Models are
loaded, and have done a first image, before any clock starts. Ours and the peers take turns; the
best of the rounds counts. The last line is one JSON object; its "ratios" are ours over the simple
loop's, two workers beside two threads.
"""

import argparse
import io
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from peer import LONGEST_TEXT, PeerCaptioner, PeerMatcher
from PIL import Image, ImageFilter
from report import print_and_save
from rich.console import Console
from rich.table import Table
from torch import Tensor

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.capfilt.models.checkpoints import CheckpointModels
from blip.capfilt.models.protocols import Models, Score
from blip.data.images import decode_image
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.transforms import eval_transform
from blip.data.writers.shards import ShardWriter
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import load_model, save_model
from blip.model.blip import Blip
from inference import BASE, SMALL, draw, make_text, make_tokenizer, with_modes

BATCH = 4
NEW_TOKENS = 12
DECODING = DecodingConfig(
    kind="nucleus", top_p=0.9, min_length=1 + NEW_TOKENS, max_length=1 + NEW_TOKENS
)
"""Every text has as many tokens, about as many as captions have: both write as much."""
WIDTH, HEIGHT = 500, 375
WORKERS = (1, 2)


@dataclass(slots=True)
class Case:
    """Ours and the peer with as many workers, or threads."""

    workers: int
    ours_seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)
    careful_seconds: list[float] = field(default_factory=list)
    in_models: list[float] = field(default_factory=list)
    """Of our seconds, those in the models, a worker on average."""

    @property
    def ratio(self) -> float:
        """Ours over the simple loop's, in images a second."""
        return min(self.peer_seconds) / min(self.ours_seconds)

    @property
    def careful_ratio(self) -> float:
        """Ours over the careful peer's."""
        return min(self.careful_seconds) / min(self.ours_seconds)

    @property
    def other_share(self) -> float:
        """Share of our time in which a worker's models do not compute, in the best round."""
        best = self.ours_seconds.index(min(self.ours_seconds))
        return 1.0 - self.in_models[best] / self.ours_seconds[best]


def main() -> int:
    """Measure, print, write."""
    args = parse()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args.small, args.images, Path(name))
        cases = [Case(workers) for workers in WORKERS]
        for _ in range(args.repeats):
            for case in cases:
                bench.measure(case)
    result = summary(cases, args.images)
    console = Console(width=118, record=True)
    show(console, cases, args.images, result)
    print_and_save(result, console, "capfilt-cpu-float32.txt" if args.save else None)
    return 0


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=16, metavar="N", help="(16)")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="rounds of each (2)")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    return parser.parse_args()


class Bench:
    """Checkpoints and shards on disk, and the peer with the same weights."""

    def __init__(self, small: bool, images: int, folder: Path) -> None:
        self.folder, self.images = folder, images
        config = SMALL if small else BASE
        tokenizer = make_tokenizer(config.text.vocabulary_size, folder)
        self.places: dict[str, str] = {}
        for name, mode in (("captioner", "causal"), ("filter", "bidirectional")):
            place = folder / name
            place.mkdir()
            save_model(draw(Blip(with_modes(config, mode))), tokenizer, place)
            self.places[name] = str(place)
        write_shards(folder / "web", images)
        self.peer = Peer(self.places)

    def measure(self, case: Case) -> None:
        """One round of both."""
        seconds, in_models = self.ours(case.workers)
        case.ours_seconds.append(seconds)
        case.in_models.append(in_models)
        torch.set_num_threads(case.workers)
        self.peer.warm()
        shards = expand([str(self.folder / "web")])
        for seconds, loop in (
            (case.peer_seconds, self.peer.simple_loop),
            (case.careful_seconds, self.peer.careful_loop),
        ):
            started = time.perf_counter()
            scored = loop(shards)
            seconds.append(time.perf_counter() - started)
            assert scored == 2 * self.images

    def ours(self, workers: int) -> tuple[float, float]:
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
        )
        models = ReadyModels(self.places["captioner"], self.places["filter"], str(notes), workers)
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
        )
        models, notes = source.load(place, source.fingerprints()), Path(self.notes)
        side = models.captioner.image_size
        models.captioner.caption([torch.zeros(3, side, side)] * BATCH, [[0]] * BATCH)
        models.filter.score([torch.zeros(3, side, side)] * BATCH, [["w300 w301"] * 2] * BATCH)
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

    def score(self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]) -> list[list[Score]]:
        """As the filter does."""
        return self._time(lambda: self.inner.score(images, texts))

    def _time(self, work: Any) -> Any:
        started = time.perf_counter()
        found = work()
        self.seconds += time.perf_counter() - started
        note(self.place, self.seconds)
        return found


class Peer:
    """The job as one would put it together from transformers."""

    def __init__(self, places: dict[str, str]) -> None:
        captioner, matcher = (load_model(places[name]) for name in ("captioner", "filter"))
        self.captioner = PeerCaptioner(captioner.model, captioner.tokenizer)
        self.matcher = PeerMatcher(matcher.model, matcher.tokenizer)
        self.side = captioner.config.vision.image_size

    def warm(self) -> None:
        """An image through both."""
        image = torch.zeros(1, 3, self.side, self.side)
        self.matcher.by_states(image[0], self.captioner.caption(image, DECODING))

    @torch.inference_mode()
    def simple_loop(self, shards: list[Path]) -> int:
        """How many texts were scored: image after image, pair after pair."""
        scored = 0
        tokenizer, matcher = self.matcher.tokenizer, self.matcher.peer
        for shard in shards:
            for sample in read_shard(shard):
                image = self._pixels(sample)[None]
                [written] = self.captioner.caption(image, DECODING)
                for text in (sample.texts[0], written):
                    encoded = tokenizer.encode([text], LONGEST_TEXT)
                    found = matcher(
                        input_ids=encoded.start_with(tokenizer.enc_id).ids,
                        pixel_values=image,
                        attention_mask=encoded.visible.long(),
                    )
                    scored += len(found.itm_score.softmax(dim=1)[:, 1].tolist())
        return scored

    def careful_loop(self, shards: list[Path]) -> int:
        """The same, with batches to write for and one encoding an image."""
        scored = 0
        for shard in shards:
            samples = list(read_shard(shard))
            for start in range(0, len(samples), BATCH):
                batch = samples[start : start + BATCH]
                images = torch.stack([self._pixels(sample) for sample in batch])
                written = self.captioner.caption(images, DECODING)
                for sample, image, text in zip(batch, images, written, strict=True):
                    scored += len(self.matcher.by_states(image, [sample.texts[0], text]))
        return scored

    def _pixels(self, sample: Sample) -> Tensor:
        return eval_transform(decode_image(sample.image or b""), self.side)


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


def summary(cases: Sequence[Case], images: int) -> dict[str, Any]:
    """What the last line says."""
    best = cases[-1]
    return {
        "ratios": {"capfilt": round(best.ratio, 2)},
        "more_ratios": {
            **{f"workers_{case.workers}": round(case.ratio, 2) for case in cases},
            **{
                f"workers_{case.workers}_careful_peer": round(case.careful_ratio, 2)
                for case in cases
            },
        },
        "per_second": {
            f"workers_{case.workers}": {
                "unit": "images",
                "ours": round(images / min(case.ours_seconds), 3),
                "peer": round(images / min(case.peer_seconds), 3),
                "ours_seconds": [round(s, 2) for s in case.ours_seconds],
                "careful_peer": round(images / min(case.careful_seconds), 3),
                "peer_seconds": [round(s, 2) for s in case.peer_seconds],
                "careful_peer_seconds": [round(s, 2) for s in case.careful_seconds],
                "share_not_in_models": round(case.other_share, 4),
            }
            for case in cases
        },
        "two_workers_over_one": round(min(cases[0].ours_seconds) / min(best.ours_seconds), 2),
        "images": images,
        **describe(torch.device("cpu"), torch.float32, ("torch", "transformers")),
    }


def show(console: Console, cases: Sequence[Case], images: int, result: dict[str, Any]) -> None:
    """The table."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; float32; {versions}\n"
        f"{images} images, two texts each; best of {len(cases[0].ours_seconds)} rounds; "
        f"two workers do {result['two_workers_over_one']} times as much as one",
        highlight=False,
    )
    table = Table()
    headings = ("workers, or threads", "ours", "not in the models", "simple loop", "ours / it")
    for heading in (*headings, "careful peer", "ours / it"):
        table.add_column(heading, justify="right")
    for case in cases:
        ours, peer = images / min(case.ours_seconds), images / min(case.peer_seconds)
        table.add_row(
            str(case.workers),
            f"{ours:.3f} images/s",
            f"{100 * case.other_share:.1f} %",
            f"{peer:.3f}",
            f"{case.ratio:.2f}",
            f"{images / min(case.careful_seconds):.3f}",
            f"{case.careful_ratio:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
