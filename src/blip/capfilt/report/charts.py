"""Bars of kept and dropped texts: where each stands in the SVG that a template draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blip.capfilt.report.findings import Histogram

WIDTH, HEIGHT = 560, 190
TOP, FOOT = 28, 24
BASE = HEIGHT - FOOT
"""Where the bars stand, in pixels from above."""
EDGE = 12
"""Pixels from an end within which a number is not centred below its tick."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A bin: kept texts below, dropped ones on top of them; numbers are pixels, as written."""

    x: str
    width: str
    kept_y: str
    kept_height: str
    dropped_y: str
    dropped_height: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A number below the bars."""

    x: str
    anchor: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A histogram as a drawing."""

    title: str
    total: int
    most: int
    """Texts in the highest bar."""
    bars: list[Bar]
    ticks: list[Tick]
    mark: str | None
    """Where a dashed line stands."""
    width: int = WIDTH
    height: int = HEIGHT
    top: int = TOP
    base: int = BASE


def make_chart(
    title: str, histogram: Histogram, ticks: Sequence[float], mark: float | None = None
) -> Chart:
    """The drawing of a histogram, with `ticks` as numbers below it and a dashed line at `mark`."""
    both = histogram.kept + histogram.dropped
    most = max(int(both.max()), 1)
    width, scale = WIDTH / len(both), (BASE - TOP) / most
    edges = np.linspace(histogram.low, histogram.high, len(both) + 1)
    bars = []
    for number, (kept, dropped) in enumerate(
        zip(histogram.kept.tolist(), histogram.dropped.tolist(), strict=True)
    ):
        low, high = kept * scale, dropped * scale
        between = f"{edges[number]:.3g} to {edges[number + 1]:.3g}"
        bars.append(
            Bar(
                x=f"{number * width + 1:.1f}",
                width=f"{width - 2:.1f}",
                kept_y=f"{BASE - low:.1f}",
                kept_height=f"{low:.1f}",
                dropped_y=f"{BASE - low - high:.1f}",
                dropped_height=f"{high:.1f}",
                meaning=f"{between}: {kept:,} kept, {dropped:,} dropped",
            )
        )
    return Chart(
        title=title,
        total=histogram.total,
        most=most,
        bars=bars,
        ticks=[_tick(tick, histogram) for tick in ticks],
        mark=None if mark is None else f"{_x(mark, histogram):.1f}",
    )


def _x(value: float, histogram: Histogram) -> float:
    return (value - histogram.low) / (histogram.high - histogram.low) * WIDTH


def _tick(value: float, histogram: Histogram) -> Tick:
    x = _x(value, histogram)
    anchor = "start" if x < EDGE else "end" if x > WIDTH - EDGE else "middle"
    return Tick(f"{x:.0f}", anchor, f"{value:g}")
