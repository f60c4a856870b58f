"""Zero-shot retrieval of videos and their captions by a model of images, beside chance.

    python -m experiments.real_tasks.zero_shot CKPT --data msvd/videos.parquet --name msvd

Prints a table, and writes it into README.md, between the marks of that name, and into results.json
beside this file. Shuffled frames are no control here: nothing tells the model their order.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from math import comb
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from blip.reports.origin import origin
from experiments.blip_command import measure
from experiments.results import write_results

HERE = Path(__file__).parent
TASK = "video_retrieval"
CUTS = (1, 5, 10)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.real_tasks.zero_shot",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("checkpoint", metavar="CKPT")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="a Parquet table")
    parser.add_argument("--name", required=True, help="of the results")
    parser.add_argument("--out", type=Path, default=Path("runs/zero_shot"), metavar="DIR")
    parser.add_argument("--results", type=Path, default=HERE, metavar="DIR", help="(beside this)")
    args = parser.parse_args(arguments)
    made = origin(HERE)
    found = measure(args.checkpoint, args.data, TASK, args.out / args.name)
    captions = pq.read_table(args.data, columns=["caption"])["caption"].to_pylist()
    texts = [len(of_video) for of_video in captions]
    result = {
        "figures": found[TASK],
        "chance": chance(texts),
        **{key: found[key] for key in ("videos", "texts", "model", "left_out")},
        "command": f"python -m experiments.real_tasks.zero_shot --name {args.name}",
        **made,
    }
    table = "\n".join(lines(result))
    print(table)
    write_results(args.results, args.name, result, table)
    return 0


def chance(texts: Sequence[int]) -> dict[str, float]:
    """Recalls in per cent of a ranking at random, of videos that have so many texts each.

    `tr`: the first of all texts hold one of the video; `vr`: the first videos hold the text's.
    """
    videos, every = len(texts), sum(texts)
    figures = {}
    for cut in CUTS:
        shown = min(cut, every)
        missed = [comb(every - own, shown) / comb(every, shown) for own in texts]
        figures[f"tr{cut}"] = 100.0 * (1.0 - sum(missed) / videos)
        figures[f"vr{cut}"] = 100.0 * min(cut, videos) / videos
    return figures


def lines(result: dict[str, Any]) -> Iterator[str]:
    """A Markdown table."""
    names = [f"{way}{cut}" for way in ("tr", "vr") for cut in CUTS]
    heads = " | ".join(f"{name[:2].upper()}@{name[2:]}" for name in names)
    yield f"| {result['videos']} videos, {result['texts']} texts, % | {heads} |"
    yield "| --- |" + " --- |" * len(names)
    for row, key in (("the model, zero-shot", "figures"), ("chance", "chance")):
        yield f"| {row} | " + " | ".join(f"{result[key][name]:.1f}" for name in names) + " |"


if __name__ == "__main__":
    sys.exit(main())
