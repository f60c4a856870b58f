"""Linear layers of the base size in float32, bfloat16 and int8 on a CPU, by one thread.

    python -m benchmarks.products [--save]

Seconds are those of the CPU, so that other work on the machine disturbs little. Each layer has more
copies than the caches hold, as in decoding, which reads every weight for a few rows; 577 rows are
the tokens of an image of 384 pixels. The last line is one JSON object.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.report import print_and_save
from blip.nn.kernels.packed_weight import pack_weights
from blip.nn.linear import Linear

SHAPES = ((2304, 768), (3072, 768), (768, 3072), (30524, 768))
"""Outputs and inputs: queries, keys and values; both layers of the MLP; the language head."""
ROWS = (1, 4, 12, 577)
PRECISIONS = ("float32", "bfloat16", "int8")
CACHES = 2**26
"""Bytes of weights beyond which each is read from memory."""


def main() -> int:
    """Measure, print, write."""
    args = parse()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {
        f"{outputs} x {inputs}, {rows} rows": {
            precision: 1e6 * measure(outputs, inputs, rows, precision, args.repeats)
            for precision in PRECISIONS
        }
        for outputs, inputs in args.shapes
        for rows in args.rows
    }
    result = {
        "ratios": {
            name: {one: round(of["float32"] / of[one], 2) for one in PRECISIONS[1:]}
            for name, of in found.items()
        },
        "microseconds": {
            name: {one: round(value, 1) for one, value in of.items()} for name, of in found.items()
        },
        **describe(torch.device("cpu"), torch.float32, ("torch",)),
    }
    console = Console(width=118, record=True)
    show(console, result)
    print_and_save(result, console, "products-cpu.txt" if args.save else None)
    return 0


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="the best counts")
    parser.add_argument("--small", action="store_true", help="tiny layers: does it run?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    args = parser.parse_args()
    args.shapes, args.rows = (((48, 32),), (1, 5)) if args.small else (SHAPES, ROWS)
    return args


@torch.inference_mode()
def measure(outputs: int, inputs: int, rows: int, precision: str, repeats: int) -> float:
    """Seconds of one thread for a layer and so many rows, in the format of its activations."""
    size = {"float32": 4, "bfloat16": 2, "int8": 1}[precision]
    copies = max(1, min(CACHES // (size * outputs * inputs), 8192 // rows))
    with torch.inference_mode(False):
        layers = [make_layer(outputs, inputs, precision) for _ in range(copies)]
    input = torch.randn(rows, inputs).to(
        torch.bfloat16 if precision == "bfloat16" else torch.float32
    )
    read(layers, input)
    return min(timed(layers, input) for _ in range(repeats)) / copies


def make_layer(outputs: int, inputs: int, precision: str) -> Linear:
    """A layer with packed weights."""
    layer = Linear(inputs, outputs)
    if precision == "int8":
        layer.to_int8()
    elif precision == "bfloat16":
        layer.bfloat16()
    pack_weights(layer)
    return layer


def timed(layers: Sequence[Linear], input: torch.Tensor) -> float:
    """Seconds of the CPU for all layers."""
    start = time.thread_time()
    read(layers, input)
    return time.thread_time() - start


def read(layers: Sequence[Linear], input: torch.Tensor) -> None:
    """Each layer once."""
    for layer in layers:
        layer(input)


def show(console: Console, result: dict[str, Any]) -> None:
    """The table."""
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; one thread, "
        "microseconds of the CPU",
        highlight=False,
    )
    table = Table("outputs x inputs", *PRECISIONS, "bfloat16 faster", "int8 faster")
    for name, of in result["microseconds"].items():
        times = (f"{of[one]:.0f}" for one in PRECISIONS)
        table.add_row(name, *times, *(f"{value:.2f}" for value in result["ratios"][name].values()))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
