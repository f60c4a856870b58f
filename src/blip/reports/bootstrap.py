"""report.html of the main job: one page that opens without a server."""

import base64
import html
import io
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from blip.files import write_atomically
from blip.reports.tables import capfilt_rows, comparison_rows, noise_rows

THUMBNAIL = 160
LOSSES = ("contrastive", "matching", "language")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .8rem; text-align: left }
tr:nth-child(even) { background: #f4f4f4 } td.number { text-align: right }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem }
.samples img { width: 160px; height: 160px; image-rendering: pixelated } .name { color: #777 }
"""


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
    parts = [
        "<h1>Bootstrapped against noisy baseline</h1>",
        _table(("", "baseline", "bootstrapped"), comparison_rows(summary)),
        "<h2>CapFilt</h2>",
        _table(("", ""), capfilt_rows(summary["capfilt"])),
        _table(("planted noise", "texts", "kept"), noise_rows(summary["capfilt"])),
        "<h2>Losses</h2>",
        _loss_curves(out),
        "<h2>Captions of test images</h2>",
        _samples(results, images),
        "<h2>Seconds</h2>",
        _table(("stage", "s"), [(k, f"{v:.0f}") for k, v in summary["seconds"].items()]),
    ]
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>blip bootstrap</title>"
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    path = out / "report.html"
    write_atomically(path, page)
    return path


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    rows = list(rows)
    if not rows:
        return ""
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"


def _samples(results: dict[str, dict[str, Any]], images: Iterable[ShownImage]) -> str:
    """Test images, each with the captions that the results have for it."""
    cards = []
    for image in images:
        captions = "".join(
            f"<div><span class=name>{name}</span> "
            f"{html.escape(result['captions'].get(image.key, ''))}</div>"
            for name, result in results.items()
        )
        cards.append(
            f"<div><img alt='' src='{_thumbnail(image.picture)}'>{captions}"
            f"<div><span class=name>human</span> {html.escape(image.text)}</div></div>"
        )
    return f"<div class=samples>{''.join(cards)}</div>"


def _thumbnail(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return _data_url("image/jpeg", buffer.getvalue())


def _loss_curves(out: Path) -> str:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.8))
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
                (drawn[name],) = axis.plot(*zip(*points, strict=True), color=f"C{number}")
    for axis, loss in zip(axes, LOSSES, strict=True):
        axis.set(title=loss, xlabel="step")
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    if drawn:
        figure.legend(drawn.values(), drawn.keys(), loc="lower center", ncols=5, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    return f"<img alt='losses' src='{_data_url('image/svg+xml', buffer.getvalue())}'>"


def _read_lines(log: Path) -> list[dict[str, Any]]:
    """The objects of a log; a line that a killed process left unfinished is skipped."""
    found = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
