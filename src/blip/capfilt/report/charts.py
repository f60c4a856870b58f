"""Bars of kept and dropped texts as SVG within a page."""

from collections.abc import Sequence

import numpy as np

from blip.capfilt.report.findings import Histogram

WIDTH, HEIGHT = 560, 190
TOP, FOOT = 28, 24


def draw_bars(
    title: str, histogram: Histogram, ticks: Sequence[float], mark: float | None = None
) -> str:
    """Bars of which the kept part is full and the dropped part, on top of it, is light.

    `mark` is a number at which a dashed line stands, `ticks` are those that are written below.
    """
    both = histogram.kept + histogram.dropped
    most, base = max(int(both.max()), 1), HEIGHT - FOOT
    width, scale = WIDTH / len(both), (base - TOP) / most
    edges = np.linspace(histogram.low, histogram.high, len(both) + 1)
    bars = []
    for number, (kept, dropped) in enumerate(
        zip(histogram.kept.tolist(), histogram.dropped.tolist(), strict=True)
    ):
        told = f"{edges[number]:.3g} to {edges[number + 1]:.3g}: {kept:,} kept, {dropped:,} dropped"
        x, low, high = number * width + 1, kept * scale, dropped * scale
        bars.append(
            f'<g><rect x="{x:.1f}" y="{base - low:.1f}" width="{width - 2:.1f}" '
            f'height="{low:.1f}" fill="var(--kept)"/>'
            f'<rect x="{x:.1f}" y="{base - low - high:.1f}" width="{width - 2:.1f}" '
            f'height="{high:.1f}" fill="var(--dropped)" fill-opacity=".45"/>'
            f"<title>{told}</title></g>"
        )
    line = ""
    if mark is not None:
        x = _x(mark, histogram)
        line = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{base}" stroke="var(--ink)" '
            'stroke-dasharray="4 3"/>'
        )
    return (
        f"<figure><figcaption>{title}: {histogram.total:,} <small>(most in a bar {most:,})</small>"
        f'</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{title}">{"".join(bars)}'
        f'<line x1="0" x2="{WIDTH}" y1="{base}" y2="{base}" stroke="var(--line)"/>{line}'
        f"{''.join(_tick(tick, histogram) for tick in ticks)}</svg></figure>"
    )


def _x(value: float, histogram: Histogram) -> float:
    return (value - histogram.low) / (histogram.high - histogram.low) * WIDTH


def _tick(value: float, histogram: Histogram) -> str:
    x = _x(value, histogram)
    anchor = "start" if x < 12 else "end" if x > WIDTH - 12 else "middle"
    return (
        f'<text x="{x:.0f}" y="{HEIGHT - 6}" text-anchor="{anchor}" font-size="12">{value:g}</text>'
    )
