"""Bytes that a pre-training step reads and writes, operation by operation, beside the peers'.

    python benchmarks/step_bytes.py [--batch N] [--small] [--save]

The steps are those of `pretrain.py`. What torch dispatches is counted: each operation reads its
inputs and writes its outputs once, and of a table no more rows than it must; views and
allocations are free; what an operation keeps in a cache,
or reads twice within, is not seen. It says where memory is read that a step need not read, and not
how long that takes. At least, a step reads each weight in both passes and by the momentum encoders
(3 times), writes and reads a gradient (2), and moves the state of AdamW and the averages (6 and 3).
The last line is one JSON object.
"""

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from machine import describe
from pretrain import make_contender
from pretrain_steps import CONTENDERS
from report import print_and_save
from rich.console import Console
from rich.table import Table
from stand_in import is_free
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PHASES = ("forward", "backward", "optimizer", "averages")
OF_WEIGHTS = {"forward": 2, "backward": 2, "optimizer": 7, "averages": 3}
"""How often each weight, or what there is one of for each, must be moved at least in each phase.

Forward: by the model and the momentum encoders. Backward: the weight is read, its gradient written.
AdamW reads weight, gradient and two averages and writes all but the gradient."""

READ_ROWS = {"embedding", "index", "index_select", "gather"}
"""Operations that read no more of their first input than they return."""
WRITE_ROWS = {"index_put_", "index_copy_", "index_add_", "scatter_"}
"""Operations that touch no more of their first input than they are given."""


class CountBytes(TorchDispatchMode):
    """Counts what operations read and write, in the phase that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = PHASES[0]
        self.moved = {phase: Counter[str]() for phase in PHASES}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute and count."""
        results = func(*args, **(kwargs or {}))
        if not is_free(func):
            self.moved[self.phase][func.overloadpacket.__name__] += _bytes_moved(
                func, args, kwargs or {}, results
            )
        return results


def main() -> int:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, metavar="N")
    parser.add_argument("--small", action="store_true", help="tiny models: does it run?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    args = parser.parse_args()
    # The peer's own warnings, about arguments that this model does not read.
    warnings.filterwarnings("ignore")
    args.dtype = "float32"
    counts, weights = {}, 0
    for args.contender in CONTENDERS:
        counts[args.contender], learned = count(args)
        weights = weights or learned
    result = summary(counts, weights, args.batch)
    result |= describe(torch.device("cpu"), torch.float32, ("torch", "transformers"))
    console = Console(width=100, record=True)
    show(console, counts, result)
    print_and_save(result, console, "step-bytes.txt" if args.save else None)
    return 0


def count(args: argparse.Namespace) -> tuple[dict[str, Counter[str]], int]:
    """Bytes of each operation in each phase of a contender's step, and of the weights it learns."""
    contender: Any = make_contender(args, args.batch, torch.device("cpu"))
    # It makes the states of the optimiser.
    contender.step()
    with CountBytes() as counter, _phases(contender, counter):
        contender.step()
    groups = contender.optimizer.param_groups
    return counter.moved, sum(one.nbytes for group in groups for one in group["params"])


@contextmanager
def _phases(contender: Any, counter: CountBytes) -> Iterator[None]:
    """Tell the counter when the backward pass, the optimiser and the averages begin."""
    optimizer = contender.optimizer
    own_step, own_update = optimizer.step, contender.update

    def update(losses: Tensor) -> None:
        counter.phase = "backward"
        own_update(losses)

    def step(*arguments: Any) -> Any:
        counter.phase = "optimizer"
        done = own_step(*arguments)
        counter.phase = "averages"
        return done

    contender.update, optimizer.step = update, step
    try:
        yield
    finally:
        contender.update, optimizer.step = own_update, own_step


def _bytes_moved(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], results: Any) -> int:
    name = func.overloadpacket.__name__
    if name in READ_ROWS:
        return 2 * _bytes_of(_tensors(results))
    if name in WRITE_ROWS:
        # Reads and writes no more rows than it is given.
        return 2 * _bytes_of(_tensors(args[1:]))
    read = _tensors((args, kwargs))
    declared = func._schema.arguments
    given = {one.name: value for one, value in zip(declared, args, strict=False)} | {**kwargs}
    written = [given.get(one.name) for one in declared if _is_written(one)]
    made = {key: size for key, size in _tensors(results).items() if key not in read}
    return sum(map(_bytes_of, (read, _tensors(written), made)))


def _is_written(argument: Any) -> bool:
    # AdamW could scale gradients in place, and does not.
    return bool(argument.alias_info and argument.alias_info.is_write) and argument.name != "grads"


def _bytes_of(tensors: Mapping[Any, int]) -> int:
    return sum(tensors.values())


def _tensors(values: Any) -> dict[Any, int]:
    """Bytes of all tensors, each once; a broadcast one has the bytes that it holds."""
    return {
        (one.data_ptr(), one.shape, one.stride()): min(one.nbytes, one.untyped_storage().nbytes())
        for one in tree_leaves(values)
        if isinstance(one, Tensor) and one.is_cpu
    }


def summary(counts: dict[str, dict[str, Counter[str]]], weights: int, batch: int) -> dict[str, Any]:
    """What the last line says."""
    totals = {
        name: {phase: moved.total() for phase, moved in phases.items()}
        for name, phases in counts.items()
    }
    ours = sum(totals["ours"].values())
    return {
        "ratios": {
            f"bytes_vs_{name}": round(ours / sum(of.values()), 3)
            for name, of in totals.items()
            if name != "ours"
        },
        "batch": batch,
        "gbyte_of_weights": round(weights / 1e9, 6),
        "gbyte": {
            name: {phase: round(moved / 1e9, 6) for phase, moved in of.items()}
            for name, of in totals.items()
        },
    }


def show(
    console: Console, counts: dict[str, dict[str, Counter[str]]], result: dict[str, Any]
) -> None:
    """The tables."""
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['dtype']}, {result['batch']} "
        f"samples; weights {result['gbyte_of_weights']} GB",
        highlight=False,
    )
    table = Table(caption="GB that a step moves; least: for its weights alone")
    for heading in ("", *counts, "least"):
        table.add_column(heading, justify="right" if heading else "left")
    for phase in PHASES:
        least = OF_WEIGHTS[phase] * result["gbyte_of_weights"]
        table.add_row(
            phase, *(f"{result['gbyte'][name][phase]:.2f}" for name in counts), f"{least:.2f}"
        )
    console.print(table)
    for phase, moved in counts["ours"].items():
        most = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in moved.most_common(12))
        console.print(f"{phase}: {most}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
