"""What pages show of a table: its figures, its differences, a verdict, a plot."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blip.files import write_atomically
from experiments.tables.table import MAIN, TITLES, Table

Result = Mapping[str, Any]
NOT_RUN = "not run yet"


def lines(table: Table, result: Result) -> Iterator[str]:
    """The table's place on the page of all figures, as Markdown."""
    means = result["means"]
    columns = [name for name in table.columns if any(name in found for found in means.values())]
    yield f"The claim that {table.claim} **{result['verdict']}** here."
    if result["missing"]:
        yield f"Not run yet: {'; '.join(result['missing'])}."
    yield ""
    yield f"| | {' | '.join(TITLES[name] for name in columns)} |"
    yield f"| --- |{' --- |' * len(columns)}"
    for variant, found in means.items():
        cells = (mean(found[name]) if name in found else "" for name in columns)
        yield f"| {variant} | {' | '.join(cells)} |"
    yield ""
    yield "| better | than | by | difference (95 %) | the claim |"
    yield "| --- | --- | --- | --- | --- |"
    for one in result["differences"]:
        cells = (one["better"], one["than"], TITLES[one["figure"]], difference(one), one["outcome"])
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"![{table.title}: figures of each seed](results/{table.name}.svg)"
    yield ""
    commits, machines = ", ".join(result["commits"]), " and ".join(result["machines"])
    yield f"{result['command']}; commit {commits}; {machines}."


def mean(spread: Mapping[str, float]) -> str:
    """Mean and standard deviation over seeds."""
    value, deviation = spread["mean"], spread["deviation"]
    if abs(value) >= 1000:
        return f"{value:.0f}"
    digits = 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} \u00b1 {deviation:.{digits}f}"


def difference(one: Mapping[str, Any]) -> str:
    """A mean difference within seeds, and its interval."""
    if "mean" not in one:
        return NOT_RUN
    within = f" \u00b1 {one['within']:.1f}" if "within" in one else " (one seed)"
    return f"{one['mean']:+.1f}{within}"


def summary_row(table: Table, result: Result | None) -> str:
    """The table's row on the page of all claims."""
    link = f"[{table.title}](tables/README.md#{anchor(table)})"
    ours, word = NOT_RUN, ""
    if result is not None:
        differences = result["differences"]
        first = differences[0]
        by = [one for one in differences if one["better"] == first["better"]]
        shown = [f"{TITLES[o['figure']]} {difference(o)}" for o in by if o["than"] == first["than"]]
        ours = f"{first['better']} minus {first['than']}: {', '.join(shown)}"
        word = f"**{result['verdict']}**{counted([one['outcome'] for one in differences])}"
        ours += " (some runs are missing)" if result["missing"] else ""
    cells = (str(table.number), link, table.claim, table.paper, ours, word)
    return f"| {' | '.join(cells)} |"


def counted(outcomes: Sequence[str]) -> str:
    """How many of the differences that were tried hold; empty where none was."""
    tried = [one for one in outcomes if one != "was not tried"]
    missing = len(outcomes) - len(tried)
    more = f", {missing} not run" if missing else ""
    return f" ({tried.count('holds')} of {len(tried)} differences hold{more})" if tried else ""


def summary(rows: Sequence[str]) -> str:
    """The page's table of all claims."""
    heads = ("", "table", "claim", "paper", "here (95 %)", "verdict")
    return "\n".join((f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *rows))


def heading(table: Table) -> str:
    """Of the table's part of the page."""
    return f"{table.number}. {table.title}"


def anchor(table: Table) -> str:
    """What a heading is called in an address."""
    kept = "".join(c for c in heading(table).lower() if c.isalnum() or c in " -")
    return kept.replace(" ", "-")


def draw(table: Table, result: Result, path: Path) -> None:
    """Each variant's main figures as an SVG: a line a seed, and the mean."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = list(result["means"])
    figure = Figure(figsize=(9.0, 0.9 + 0.32 * len(names)), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(MAIN), sharey=True), MAIN, strict=True):
        seeds = sorted({seed for found in result["runs"].values() for seed in found})
        for seed in seeds:
            of = [result["runs"][variant].get(seed) for variant in names]
            points = [(one["figures"][name], place) for place, one in enumerate(of) if one]
            axis.plot(*zip(*points, strict=True), "o-", alpha=0.4, label=f"seed {seed}")
        means = [result["means"][variant][name]["mean"] for variant in names]
        axis.plot(means, range(len(names)), "k|", markersize=14, label="mean")
        axis.set(title=TITLES[name], yticks=range(len(names)), yticklabels=names)
        axis.grid(axis="x", alpha=0.3)
    figure.axes[0].invert_yaxis()
    figure.axes[-1].legend(fontsize=7)
    buffer = io.BytesIO()
    # The same figures give the same bytes.
    with rc_context({"svg.hashsalt": table.name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_atomically(path, buffer.getvalue())
