"""report.html of the main job: one page that opens without a server."""

import io
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from blip.files import write_atomically
from blip.pages.pictures import data_address, thumbnail
from blip.pages.render import render_page
from blip.reports.tables import capfilt_rows, comparison_rows, noise_rows

TEMPLATE = Path(__file__).parent / "templates/bootstrap.html"
LOSSES = {"contrastive": "ITC", "matching": "ITM", "language": "LM"}
"""The losses by their names in `metrics.jsonl`, and as they are titled."""


class ShownImage(NamedTuple):
    """A test image on the page."""

    key: str
    """As in the captions of the results."""
    picture: Image.Image
    text: str
    """What a human wrote about it."""


def write_report(
    out: Path,
    summary: dict[str, Any],
    results: dict[str, dict[str, Any]],
    images: Iterable[ShownImage],
) -> Path:
    """Write `out/report.html`: the table, the losses, what CapFilt did, captions side by side."""
    page = render_page(
        TEMPLATE,
        comparison=comparison_rows(summary),
        capfilt=capfilt_rows(summary["capfilt"]),
        noise=noise_rows(summary["capfilt"]),
        losses=_loss_curves(out),
        images=[_with_captions(image, results) for image in images],
        seconds=[(stage, f"{seconds:.0f}") for stage, seconds in summary["seconds"].items()],
    )
    path = out / "report.html"
    write_atomically(path, page)
    return path


def _with_captions(image: ShownImage, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A test image with the captions that the results have for it, and the human one."""
    written = [(name, result["captions"].get(image.key, "")) for name, result in results.items()]
    return {"picture": thumbnail(image.picture), "texts": [*written, ("human", image.text)]}


def _loss_curves(out: Path) -> str:
    """The losses of all trainings below `out` by step, as the data address of an SVG."""
    # Unlike pyplot, it keeps no figure and asks for no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8))
    axes = figure.subplots(1, 3)
    drawn = {}
    for number, log in enumerate(sorted(out.glob("**/metrics.jsonl"))):
        name = log.parent.relative_to(out).as_posix()
        lines = _read_lines(log)
        for axis, loss in zip(axes, LOSSES, strict=True):
            points = [
                (line["step"], line[loss])
                for line in lines
                if line.get(loss) is not None and "step" in line
            ]
            if points:
                # A single one makes no line.
                marker = "o" if len(points) == 1 else None
                x, y = zip(*points, strict=True)
                (drawn[name],) = axis.plot(x, y, color=f"C{number}", marker=marker)
    for axis, title in zip(axes, LOSSES.values(), strict=True):
        axis.set(title=title, xlabel="step")
    # To lay it out by its contents takes as long as to draw it.
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.27, top=0.9, wspace=0.2)
    if drawn:
        figure.legend(drawn.values(), drawn.keys(), loc="lower center", ncols=5, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return data_address("image/svg+xml", buffer.getvalue())


def _read_lines(log: Path) -> list[dict[str, Any]]:
    """The objects of a log; a line that a killed process left unfinished is skipped."""
    found = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]
