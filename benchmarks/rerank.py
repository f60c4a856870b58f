"""Pairs of images and texts re-ranked a second, beside transformers with the same weights.

    python benchmarks/rerank.py [--device cuda --dtype bfloat16] [--small] [--growth] [--save]

ViT-B/16 at 384 pixels and BERT-base with random weights; nothing is downloaded. Ours is the whole
ranking of some images and texts as long as captions of Flickr8k are: features, candidates (k =
128), ITM. The peer scores pairs in batches, each with its picture, as its users do; a second row
has a peer that encodes every image once. Ours and the peers take turns; the best of the rounds
counts. `--growth` ranks 100 and then 400 images of five texts each, k = 8, each in a process of its
own, and reports how seconds and peak memory grow. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from machine import Speedometer, describe, seconds
from peer import PeerMatcher
from report import print_and_save, print_machine
from rich.console import Console
from rich.table import Table
from torch import Tensor

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import rank
from blip.inference.matcher import Matcher
from blip.model.blip import Blip
from blip.processes import most_memory
from inference import BASE, LENGTHS, SMALL, draw, make_text, make_tokenizer, with_modes

IMAGES, CANDIDATES = 4, 128
PEER_PAIRS = 16
GROWTH_IMAGES, GROWTH_TEXTS, GROWTH_CANDIDATES = (100, 400), 5, 8


@dataclass(frozen=True, slots=True)
class RandomSet:
    """Random pictures, each with some texts, as an `EvaluationSet` holds them."""

    texts: list[list[str]]
    image_size: int
    frames: int = 1

    def __len__(self) -> int:
        """Number of images."""
        return len(self.texts)

    def images(self, start: int, stop: int) -> Tensor:
        """Pixels that depend on the number of the image alone."""
        size = self.image_size
        return torch.stack(
            [
                torch.randn(3, size, size, generator=torch.Generator().manual_seed(number))
                for number in range(start, stop)
            ]
        )


def main() -> int:
    """Measure, print, write."""
    args = parse()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.rank_only:
        print(json.dumps(rank_only(args)))
        return 0
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
    agree = bench.agree()
    speed = Speedometer(device, dtype)
    found: dict[str, list[float]] = {"ours": [], "peer": [], "peer_encodes_once": []}
    for _ in range(args.repeats):
        speed.measure()
        found["ours"].append(bench.pairs / seconds(bench.rank, device))
        found["peer"].append(PEER_PAIRS / seconds(bench.match_pairs, device))
        found["peer_encodes_once"].append(len(LENGTHS) / seconds(bench.match_states, device))
    result = summary(found, agree, speed, describe(device, dtype, ("torch", "transformers")))
    if args.growth:
        result["growth"] = [grow(args, images) for images in GROWTH_IMAGES]
    console = Console(width=118, record=True)
    show(console, result)
    print_and_save(result, console, f"rerank-{args.device}-{args.dtype}.txt" if args.save else None)
    return 0 if agree or dtype != torch.float32 else 1


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds of each")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run, and agree?")
    parser.add_argument("--growth", action="store_true", help="rank 100 and 400 images as well")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    parser.add_argument("--rank-only", type=int, metavar="IMAGES", help=argparse.SUPPRESS)
    return parser.parse_args()


class Bench:
    """Models of both with the same weights, and what they rank."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        config = SMALL if args.small else BASE
        tokenizer = make_tokenizer(config.text.vocabulary_size, folder)
        model = draw(Blip(with_modes(config, "bidirectional")))
        model = model.to(args.device, getattr(torch, args.dtype))
        self.matcher = Matcher(model, tokenizer)
        self.peer = PeerMatcher(model, tokenizer)
        self.texts = [make_text(number, length) for number, length in enumerate(LENGTHS)]
        said = [[f"w{300 + image} {text}" for text in self.texts] for image in range(IMAGES)]
        self.data = RandomSet(said, config.vision.image_size)
        self.pairs = IMAGES * IMAGES * len(LENGTHS)
        self.pixels = self.data.images(0, IMAGES).to(model.device, model.dtype)
        self.states = self.peer.encode(self.pixels[:1])

    def rank(self) -> Tensor:
        """Our scores of all pairs without the cosine, `(images, texts)`."""
        found = rank(
            self.matcher.model,
            self.matcher.tokenizer,
            cast(EvaluationSet, self.data),
            RetrievalEvaluationConfig(candidates=CANDIDATES, score="probability", itc_weight=0.0),
        )
        return torch.from_numpy(found.image_to_text.to_matrix(float("nan")))

    def match_pairs(self) -> list[float]:
        """The peer's probabilities of the first pairs, each with its picture."""
        image = self.pixels[:1].expand(PEER_PAIRS, -1, -1, -1).contiguous()
        return self.peer.by_pairs(image, self.data.texts[0][:PEER_PAIRS])

    def match_states(self) -> list[float]:
        """The peer's probabilities of texts of an image that it has encoded."""
        return self.peer.match_probabilities(self.states, self.data.texts[0])

    def agree(self) -> bool:
        """Whether both give the same probabilities; it also warms both up."""
        ours = self.rank()[0]
        whole = torch.tensor(self.match_states())
        pairs = torch.tensor(self.match_pairs())
        return torch.allclose(ours[: len(whole)], whole, rtol=0.0, atol=1e-4) and torch.allclose(
            ours[:PEER_PAIRS], pairs, rtol=0.0, atol=1e-4
        )


def grow(args: argparse.Namespace, images: int) -> dict[str, Any]:
    """Rank so many images in a process of its own."""
    command = [sys.executable, __file__, "--rank-only", str(images)]
    command += ["--device", args.device, "--dtype", args.dtype, "--threads", str(args.threads)]
    command += ["--small"] if args.small else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rank_only(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak memory of a ranking, and what the process took before it."""
    config = SMALL if args.small else BASE
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(config.text.vocabulary_size, Path(folder))
    model = draw(Blip(with_modes(config, "bidirectional"))).eval()
    model = model.to(args.device, getattr(torch, args.dtype))
    said = [
        [
            make_text(image + text, LENGTHS[(GROWTH_TEXTS * image + text) % len(LENGTHS)])
            for text in range(GROWTH_TEXTS)
        ]
        for image in range(args.rank_only)
    ]
    before, start = peak_gigabytes(), time.perf_counter()
    ranking = rank(
        model,
        tokenizer,
        cast(EvaluationSet, RandomSet(said, config.vision.image_size)),
        RetrievalEvaluationConfig(candidates=GROWTH_CANDIDATES),
    )
    return {
        "images": args.rank_only,
        "texts": len(ranking.text_to_image),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_gigabytes": round(peak_gigabytes(), 2),
        "peak_gigabytes_before": round(before, 2),
    }


def peak_gigabytes() -> float:
    """Most memory that this process has held so far."""
    return (most_memory() or 0) / 1e9


def summary(
    rates: dict[str, list[float]], agree: bool, speed: Speedometer, machine: dict[str, Any]
) -> dict[str, Any]:
    """What the last line says."""
    best = {name: max(values) for name, values in rates.items()}
    return {
        "ratios": {"rerank_vs_huggingface": round(best["ours"] / best["peer"], 2)},
        "more_ratios": {
            "rerank_vs_huggingface_encoding_once": round(
                best["ours"] / best["peer_encodes_once"], 2
            )
        },
        "pairs_per_second": {
            name: [round(value, 2) for value in values] for name, values in rates.items()
        },
        "same_results": agree,
        "gflop_per_second": round(speed.operations_per_second / 1e9, 1),
        "gbyte_per_second": round(speed.bytes_per_second / 1e9, 1),
        **machine,
    }


def show(console: Console, result: dict[str, Any]) -> None:
    """The tables."""
    print_machine(result, console)
    table = Table("", "best of the rounds, pairs/s", "ours / peer")
    ratios = [1.0, *result["ratios"].values(), *result["more_ratios"].values()]
    for (name, rates), ratio in zip(result["pairs_per_second"].items(), ratios, strict=True):
        table.add_row(name, f"{max(rates):.2f}", f"{ratio:.2f}")
    console.print(table)
    if "growth" in result:
        growth = Table("images", "texts", "seconds", "peak GB", "of it before")
        for row in result["growth"]:
            growth.add_row(*map(str, row.values()))
        console.print(growth)


if __name__ == "__main__":
    sys.exit(main())
