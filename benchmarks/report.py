"""What a benchmark shows: its machine, and the result as a line of JSON, which may be saved."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

RESULTS = Path(__file__).parent / "results"


def print_and_save(result: dict[str, Any], console: Console, name: str | None) -> None:
    """Print the result; with `name` save it in that file, after what `console` has recorded."""
    line = json.dumps(result)
    print(line)
    if name is not None:
        save(f"{console.export_text()}{line}", name)


def save(text: str, name: str) -> None:
    """Write what a benchmark shows to a file among the results."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(f"{text}\n", encoding="utf-8")


def print_machine(result: dict[str, Any], console: Console) -> None:
    """What the result was measured on, how fast that is, and whether all ways agreed."""
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; "
        f"{result['threads']} threads, {result['dtype']}\nmatrix products "
        f"{result['gflop_per_second']:.0f} GFLOP/s, reading memory "
        f"{result['gbyte_per_second']:.0f} GB/s; same results: {result['same_results']}",
        highlight=False,
    )
