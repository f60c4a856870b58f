"""How far bfloat16 and int8 on a CPU agree with float32: captions, match probabilities, recalls.

    python -m benchmarks.agreement --captioner CKPT --filter CKPT --data FILE [--save]

On the first photos of a table: the share of captions that are the same, word for word; how far the
match probabilities of each photo with its own text and with the next photo's differ, and which of
them change sides of 0.5; recalls and CIDEr. The last line is one JSON object.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.report import print_and_save
from blip.evaluation.config import EvaluateConfig, RetrievalEvaluationConfig
from blip.evaluation.evaluate import evaluate
from blip.generation.config import DecodingConfig, DecodingKind
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import fingerprint, read_sizes
from blip.inference.matcher import Matcher
from blip.tasks.table import EVALUATIONS

PRECISIONS = ("float32", "bfloat16", "int8")
KINDS: tuple[DecodingKind, ...] = ("greedy", "beam", "nucleus")
CANDIDATES = 16
SIDE = 0.5
"""A probability above it says that a text matches."""


def main() -> int:
    """Compute, compare, print, write."""
    args = parse()
    torch.set_num_threads(args.threads)
    rows = parquet.read_table(args.data, columns=["image", "caption"]).slice(0, args.photos)
    photos = [Image.open(io.BytesIO(image)).convert("RGB") for image in rows["image"].to_pylist()]
    texts = [captions[0] for captions in rows["caption"].to_pylist()]
    found = {precision: outputs(args, precision, photos, texts) for precision in PRECISIONS}
    compared = {one: compare(found["float32"], found[one]) for one in PRECISIONS[1:]}
    with tempfile.TemporaryDirectory() as folder:
        some = Path(folder) / "photos.parquet"
        parquet.write_table(rows, some)
        figures = {one: measures(args, one, some) for one in PRECISIONS}
    result = {
        "agreement": compared,
        "figures": figures,
        "photos": len(photos),
        "models": {
            name: {
                "fingerprint": fingerprint(of),
                "width": read_sizes(of).vision.width,
                "image_size": read_sizes(of).vision.image_size,
            }
            for name, of in (("captioner", args.captioner), ("filter", args.filter))
        },
        **describe(torch.device("cpu"), torch.float32, ("torch",)),
    }
    console = Console(width=118, record=True)
    show(console, result)
    print_and_save(result, console, "agreement-cpu.txt" if args.save else None)
    return 0


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--captioner", required=True, metavar="CKPT")
    parser.add_argument("--filter", required=True, metavar="CKPT")
    parser.add_argument(
        "--data", required=True, metavar="FILE", help="a Parquet table: image, caption (list)"
    )
    parser.add_argument("--photos", type=int, default=200, metavar="N")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    return parser.parse_args()


def outputs(
    args: argparse.Namespace, precision: Any, photos: Sequence[Image.Image], texts: Sequence[str]
) -> dict[str, Any]:
    """Captions by kind of decoding, and match probabilities `(photos, own and foreign text)`."""
    captioner = Captioner.load(args.captioner, precision=precision)
    captions = {kind: captioner.caption(photos, DecodingConfig(kind=kind)) for kind in KINDS}
    pairs = [[own, texts[(place + 1) % len(texts)]] for place, own in enumerate(texts)]
    matcher = Matcher.load(args.filter, precision=precision)
    return {"captions": captions, "probability": np.array(matcher.probability(photos, pairs))}


def compare(exact: dict[str, Any], rough: dict[str, Any]) -> dict[str, Any]:
    """Shares of equal captions and differences of match probabilities."""
    same = {
        kind: float(np.mean([a == b for a, b in zip(of, rough["captions"][kind], strict=True)]))
        for kind, of in exact["captions"].items()
    }
    one, other = exact["probability"], rough["probability"]
    apart = np.abs(one - other)
    return {
        "equal_captions": same,
        "probability_apart_mean": float(apart.mean()),
        "probability_apart_99_percent": float(np.quantile(apart, 0.99)),
        "probability_apart_most": float(apart.max()),
        "other_side": float(np.mean((one > SIDE) != (other > SIDE))),
    }


def measures(args: argparse.Namespace, precision: Any, data: Path) -> dict[str, float]:
    """Recalls of the filter, re-ranked, and CIDEr of the captioner."""
    common: dict[str, Any] = {"data": (str(data),), "device": "cpu", "precision": precision}
    ranking = EvaluateConfig(
        checkpoint=args.filter,
        task="retrieval",
        retrieval=RetrievalEvaluationConfig(candidates=CANDIDATES),
        **common,
    )
    writing = EvaluateConfig(checkpoint=args.captioner, task="caption", **common)
    retrieval = evaluate(ranking, EVALUATIONS)["retrieval"]
    captions = evaluate(writing, EVALUATIONS)["caption"]
    recalls = {name: value for name, value in retrieval.items() if value is not None}
    return {**recalls, "cider": captions["cider"]}


def show(console: Console, result: dict[str, Any]) -> None:
    """One table: what agrees, and the figures in each format."""
    widths = ", ".join(
        f"{name} {of['fingerprint']} (ViT of width {of['width']}, {of['image_size']} pixels)"
        for name, of in result["models"].items()
    )
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; "
        f"{result['photos']} photos; {widths}",
        highlight=False,
    )
    table = Table("", *PRECISIONS)
    agreement, figures = result["agreement"], result["figures"]
    for kind in KINDS:
        shares = [f"{100 * agreement[one]['equal_captions'][kind]:.1f} %" for one in PRECISIONS[1:]]
        table.add_row(f"captions as in float32, {kind}", "", *shares)
    for name, meaning in (
        ("probability_apart_mean", "match probability apart, mean"),
        ("probability_apart_99_percent", "99 % of them at most"),
        ("probability_apart_most", "at most"),
    ):
        table.add_row(meaning, "", *(f"{agreement[one][name]:.4f}" for one in PRECISIONS[1:]))
    sides = [f"{100 * agreement[one]['other_side']:.1f} %" for one in PRECISIONS[1:]]
    table.add_row(f"on the other side of {SIDE}", "", *sides)
    for name in figures["float32"]:
        table.add_row(name, *(f"{figures[one][name]:.2f}" for one in PRECISIONS))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
