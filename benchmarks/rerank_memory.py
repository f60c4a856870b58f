"""Peak memory of ranking 5000 images and 25 000 texts, or 100 000 and 500 000.

    python benchmarks/rerank_memory.py [--images 5000 100000] [--candidates 256 16] [--small]
        [--save]

The real search for candidates, re-ranking, and recall, with a base model at 384 pixels. All of its
work would take weeks: it does that of the first batch of each kind and of every five thousandth,
and numbers that cost nothing stand for the rest; what is held of images and texts has its real size
in every batch, and keys and values where they are made. Texts are as long as captions of Flickr8k
are, five to an image. Compressed pictures, of which an evaluation holds up to 0.5 GiB in memory,
are not among it. Each size is ranked in a process of its own. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from machine import Speedometer, describe
from report import save
from torch import Tensor

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import score_candidates
from blip.evaluation.retrieval import recalls_of
from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.nn.begun_texts import BegunTexts
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.processes import most_memory
from inference import BASE, LENGTHS, SMALL, make_tokenizer, with_modes

TEXTS = 5
WORDS = 2000
EVERY = 5000
"""The model works once in so many batches."""


class NowAndThen:
    """A base model at 384 pixels that works once in `EVERY` batches; else it makes numbers up.

    All that it holds and hands on is as large as ever.
    """

    def __init__(self, config: ModelConfig) -> None:
        torch.manual_seed(0)
        self.model = Blip(with_modes(config, "bidirectional")).eval()
        self.config, self.device, self.dtype = (
            self.model.config,
            self.model.device,
            self.model.dtype,
        )
        self.words = torch.randn(WORDS + 100, self.config.projection)
        self.calls: Counter[str] = Counter()

    def text_features(self, ids: Tensor, visible: Tensor) -> Tensor:
        """The mean of random features of the words."""
        if self.is_due("texts"):
            self.model.text_features(ids, visible)
        return torch.nn.functional.normalize(self.words[ids].sum(dim=1), dim=1)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """States of the model's shape, whose first numbers are those of the image."""
        vision, projection = self.config.vision, self.config.projection
        if self.is_due("images"):
            states = self.model.encode_pixels(pixels)
        else:
            states = torch.zeros(len(pixels), vision.tokens, vision.width)
        states[:, 0, :projection] = pixels[:, 0].flatten(1)[:, :projection]
        return states

    def image_features(self, states: Tensor) -> Tensor:
        """Unit vectors."""
        return torch.nn.functional.normalize(states[:, 0, : self.config.projection], dim=1)

    def project_image(self, states: Tensor, mode: Mode) -> ImageKV | None:
        """Keys and values now and then."""
        return self.model.project_image(states, mode) if self.is_due("keys and values") else None

    def begin_texts(self, ids: Tensor, visible: Tensor) -> BegunTexts:
        """As the model does, where there are few enough texts."""
        return self.model.begin_texts(ids, visible)

    def match_begun(
        self, texts: BegunTexts, index: Tensor, image_kv: ImageKV | None, images: Tensor
    ) -> Tensor:
        """Two numbers of each pair."""
        if image_kv is not None:
            return self.model.match_begun(texts, index, image_kv, images)
        return made_up(texts.ids[index], images)

    def match_logits(
        self, ids: Tensor, visible: Tensor, image_kv: ImageKV | None, images: Tensor
    ) -> Tensor:
        """Two numbers of each pair."""
        if image_kv is not None:
            return self.model.match_logits(ids, visible, image_kv, images)
        return made_up(ids, images)

    def is_due(self, work: str) -> bool:
        """Whether the model does this call of such work itself: the first, and each `EVERY`th."""
        self.calls[work] += 1
        return self.calls[work] % EVERY == 1


def made_up(ids: Tensor, images: Tensor) -> Tensor:
    """Logits that cost nothing."""
    total = (ids.sum(dim=1) + 7 * images).float()
    return torch.stack([total.sin(), total.cos()], dim=1)


class RandomSet:
    """Random images, each with some texts, no two alike."""

    frames = 1

    def __init__(self, images: int, config: ModelConfig) -> None:
        self.side, self.projection = config.vision.image_size, config.projection
        generator = np.random.default_rng(0)
        self.texts = [
            [
                " ".join(
                    f"w{n}" for n in generator.integers(0, WORDS, LENGTHS[place % len(LENGTHS)])
                )
                for place in range(TEXTS * image, TEXTS * image + TEXTS)
            ]
            for image in range(images)
        ]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.texts)

    def images(self, start: int, stop: int) -> Tensor:
        """Pictures of which one line holds random numbers: they become the features."""
        pixels = torch.zeros(stop - start, 3, self.side, self.side)
        generator = torch.Generator().manual_seed(start)
        numbers = torch.randn(stop - start, self.projection, generator=generator)
        pixels[:, 0].flatten(1)[:, : self.projection] = numbers
        return pixels


def main() -> int:
    """Rank in processes of their own, print, write."""
    args = parse()
    if args.only:
        print(json.dumps(rank_once(args)))
        return 0
    sizes = []
    for images, candidates in zip(args.images, args.candidates, strict=True):
        command = [sys.executable, __file__, "--only", "--images", str(images)]
        command += ["--candidates", str(candidates), "--threads", str(args.threads)]
        command += ["--small"] if args.small else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        sizes.append(json.loads(done.stdout.splitlines()[-1]))
    torch.set_num_threads(args.threads)
    speed = Speedometer(torch.device("cpu"), torch.float32)
    speed.measure()
    machine = describe(torch.device("cpu"), torch.float32, ("torch", "numpy"))
    result = {
        "sizes": sizes,
        "gflop_per_second": round(speed.operations_per_second / 1e9, 1),
        "gbyte_per_second": round(speed.bytes_per_second / 1e9, 1),
        **machine,
    }
    line = json.dumps(result)
    print(line)
    if args.save:
        save(line, "rerank-memory.txt")
    return 0


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 100_000], metavar="N")
    parser.add_argument("--candidates", type=int, nargs="+", default=[256, 16], metavar="K")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--small", action="store_true", help="200 images, to try it")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results")
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small:
        args.images = [200]
    if len(args.images) != len(args.candidates):
        parser.error("give as many --candidates as --images")
    return args


def rank_once(args: argparse.Namespace) -> dict[str, Any]:
    """Rank images in this process."""
    torch.set_num_threads(args.threads)
    (images,), (candidates,) = args.images, args.candidates
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(WORDS, Path(folder))
    model = NowAndThen(SMALL if args.small else BASE)
    data = RandomSet(images, model.config)
    start, before = time.perf_counter(), peak_gibibytes()
    scored = score_candidates(
        cast(Blip, model),
        tokenizer,
        cast(EvaluationSet, data),
        RetrievalEvaluationConfig(candidates=candidates),
        show_progress=True,
    )
    ranked = time.perf_counter() - start
    figures = recalls_of(scored.rank("log_probability"))
    return {
        "images": images,
        "texts": images * TEXTS,
        "candidates": candidates,
        "pairs": len(scored.pairs.codes),
        "seconds": round(ranked, 1),
        "seconds_of_recall": round(time.perf_counter() - start - ranked, 1),
        "peak_gibibytes": round(peak_gibibytes(), 2),
        "peak_gibibytes_before": round(before, 2),
        "recalls": {name: round(value, 3) for name, value in figures.items()},
    }


def peak_gibibytes() -> float:
    """Most memory that this process has held so far."""
    return (most_memory() or 0) / 2**30


if __name__ == "__main__":
    sys.exit(main())
