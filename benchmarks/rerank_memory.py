"""Peak memory of ranking 100 000 images and 500 000 texts.

    python benchmarks/rerank_memory.py [--images 100000] [--candidates 16] [--small] [--save]

The real search for candidates, re-ranking, and recall, of a stand-in for a model: features of 256
numbers and states of a base model's shape, all random, and logits that cost nothing, because a real
one would take weeks. Texts are as long as captions of Flickr8k are, five to an image. The last line
is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from machine import describe
from report import save
from torch import Tensor

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import score_candidates
from blip.evaluation.retrieval import recalls_of
from blip.model.blip import Blip
from blip.processes import most_memory
from inference import LENGTHS, make_tokenizer

TEXTS = 5
PROJECTION, TOKENS, WIDTH = 256, 197, 768
WORDS = 2000


class StandIn:
    """What ranking asks of a `Blip`, without its work."""

    config = SimpleNamespace(
        projection=PROJECTION, text=SimpleNamespace(positions=512, width=WIDTH)
    )
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.words = torch.randn(WORDS + 100, PROJECTION)
        self.states = torch.zeros(64, TOKENS, WIDTH)

    def text_features(self, ids: Tensor, visible: Tensor) -> Tensor:
        """The mean of random features of the words."""
        return torch.nn.functional.normalize(self.words[ids].sum(dim=1), dim=1)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """States of a base model's shape, whose first numbers are those of the image."""
        states = self.states[: len(pixels)].clone()
        states[:, 0, :PROJECTION] = pixels
        return states

    def image_features(self, states: Tensor) -> Tensor:
        """Unit vectors."""
        return torch.nn.functional.normalize(states[:, 0, :PROJECTION], dim=1)

    def project_image(self, states: Tensor, mode: str) -> None:
        """Nothing."""

    def begin_texts(self, ids: Tensor, visible: Tensor) -> None:
        """Nothing: as many texts as are ranked here would not fit."""

    def match_logits(self, ids: Tensor, visible: Tensor, image_kv: None, images: Tensor) -> Tensor:
        """Two numbers of each pair."""
        total = (ids.sum(dim=1) + 7 * images).float()
        return torch.stack([total.sin(), total.cos()], dim=1)


class RandomSet:
    """Random images, each with some texts, no two alike."""

    def __init__(self, images: int) -> None:
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
        """Numbers that stand for the pixels."""
        generator = torch.Generator().manual_seed(start)
        return torch.randn(stop - start, PROJECTION, generator=generator)


def main() -> int:
    """Rank, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=100_000, metavar="N")
    parser.add_argument("--candidates", type=int, default=16, metavar="K")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--small", action="store_true", help="200 images, to try it")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results")
    args = parser.parse_args()
    images = 200 if args.small else args.images
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(WORDS, Path(folder))
    start, before = time.perf_counter(), peak_gibibytes()
    scored = score_candidates(
        cast(Blip, StandIn()),
        tokenizer,
        cast(EvaluationSet, RandomSet(images)),
        RetrievalEvaluationConfig(candidates=args.candidates),
        show_progress=True,
    )
    ranked = time.perf_counter() - start
    figures = recalls_of(scored.rank("log_probability"))
    result = {
        "images": images,
        "texts": images * TEXTS,
        "candidates": args.candidates,
        "pairs": len(scored.pairs.codes),
        "seconds": round(ranked, 1),
        "seconds_of_recall": round(time.perf_counter() - start - ranked, 1),
        "peak_gibibytes": round(peak_gibibytes(), 2),
        "peak_gibibytes_before": round(before, 2),
        "recalls": {name: round(value, 3) for name, value in figures.items()},
        **describe(torch.device("cpu"), torch.float32, ("torch", "numpy")),
    }
    line = json.dumps(result)
    print(line)
    if args.save:
        save(line, "rerank-memory.txt")
    return 0


def peak_gibibytes() -> float:
    """Most memory that this process has held so far."""
    return (most_memory() or 0) / 2**30


if __name__ == "__main__":
    sys.exit(main())
