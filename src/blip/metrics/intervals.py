"""How sure a figure is: intervals by the bootstrap, which samples the images again and again."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
LEVEL = 0.95
NUMBERS_AT_A_TIME = 1 << 24
"""Weights of images that are drawn at a time; memory does not grow with the resamples."""

Statistic = Callable[[Float[np.ndarray, "samples images"]], Mapping[str, np.ndarray]]
"""From how often each sample holds each image to figures by name, each `(samples,)`."""


class Interval(NamedTuple):
    """A figure of all images, and the interval around it; NaN where it is undefined."""

    value: float
    low: float
    high: float


def find_intervals(
    statistic: Statistic,
    images: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Percentile intervals (Efron 1979) of the figures of `statistic`.

    Each of `resamples` samples has as many images as there are, drawn with replacement; what
    belongs to an image comes and goes with it. The same seed gives the same samples. Samples in
    which a figure is undefined (NaN) do not count for it.
    """
    values = statistic(np.ones((1, images)))
    rng = np.random.Generator(np.random.PCG64([seed, images]))
    size = max(1, NUMBERS_AT_A_TIME // images)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1.0 / images), size=count)
        for name, found in statistic(weights.astype(np.float64)).items():
            drawn[name].append(found)
    tail = 50.0 * (1.0 - level)
    return {
        name: Interval(float(values[name][0]), *_percentiles(np.concatenate(parts), tail))
        for name, parts in drawn.items()
    }


def shares(parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Statistic:
    """Ratios of sums over images, in per cent: name to what each image adds above and below."""

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {
            name: 100.0 * divide(weights @ above, weights @ below)
            for name, (above, below) in parts.items()
        }

    return statistic


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The ratio of two arrays, NaN where the second is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)


def _percentiles(values: np.ndarray, tail: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [tail, 100.0 - tail])
    return float(low), float(high)
