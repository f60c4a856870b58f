"""Chooses the threshold with the highest recall at a target precision, by labelled texts."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from blip.capfilt.ledger.labels import Labelled, find_scores, read_labels
from blip.config.ranges import SHARE_ABOVE_ZERO, RangeError
from blip.errors import BlipError, UsageError
from blip.files import json_text, write_atomically
from blip.outputs import check_unchanged

ScoreName = Literal["itm_score", "itc_cosine"]
NAMES: dict[ScoreName, str] = {"itm_score": "ITM probability", "itc_cosine": "ITC cosine"}
Z = 1.959964
"""95 % of a normal distribution lie within this many standard deviations."""
FEW = 100
"""Number of labels below which the result warns that the threshold is little more than a guess."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share, `part` of `whole`, with Wilson's 95 % confidence interval."""

    part: int
    whole: int

    @property
    def value(self) -> float:
        """The share; 0 where `whole` is 0."""
        return self.part / self.whole if self.whole else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end (Wilson, 1927); 0 to 1 where `whole` is 0."""
        if self.whole == 0:
            return 0.0, 1.0
        scale = 1.0 + Z * Z / self.whole
        centre = (self.value + Z * Z / (2 * self.whole)) / scale
        variance = self.value * (1 - self.value) / self.whole + (Z / (2 * self.whole)) ** 2
        half = Z * math.sqrt(variance) / scale
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_json(self) -> dict[str, Any]:
        """With the interval."""
        low, high = (round(end, 6) for end in self.interval)
        return {**asdict(self), "value": round(self.value, 6), "low": low, "high": high}


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Precision and recall of a threshold on the labelled texts."""

    threshold: float
    precision: Share
    """Of the texts that it keeps, those that match."""
    recall: Share
    """Of the texts that match, those that it keeps."""

    def to_json(self) -> dict[str, Any]:
        """All three."""
        return {
            "threshold": self.threshold,
            "precision": self.precision.to_json(),
            "recall": self.recall.to_json(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Precision and recall at every threshold that makes a difference, strictest first."""

    score: ScoreName
    points: list[Point]

    def reaching(self, precision: float) -> Point | None:
        """The point with the highest recall whose precision is at least this; None without one."""
        enough = [point for point in self.points if point.precision.value >= precision]
        return max(enough, key=_quality, default=None)

    def surely_reaching(self, precision: float) -> Point | None:
        """The same for the lower end of the precision's interval."""
        enough = [point for point in self.points if point.precision.interval[0] >= precision]
        return max(enough, key=_quality, default=None)

    @property
    def most_precise(self) -> Point:
        """The point with the highest precision; of several, the one with the highest recall."""
        return max(self.points, key=lambda point: (point.precision.value, point.recall.part))


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The result; `chosen` is None where no threshold reaches the precision."""

    precision: float
    score: ScoreName
    curves: dict[ScoreName, Curve]
    labelled: Labelled
    chosen: Point | None

    @property
    def matches(self) -> int:
        """Labelled texts that match, among those with a score."""
        return sum(text.match for text in self.labelled.texts)

    def to_json(self) -> dict[str, Any]:
        """The content of calibration.json: the choice and both curves."""
        sure = self.curves[self.score].surely_reaching(self.precision)
        return {
            "precision": self.precision,
            "score": self.score,
            "threshold": None if self.chosen is None else self.chosen.threshold,
            "chosen": None if self.chosen is None else self.chosen.to_json(),
            "sure": None if sure is None else sure.to_json(),
            "labels": len(self.labelled.texts),
            "matches": self.matches,
            "missing": len(self.labelled.missing),
            "unscored": self.labelled.unscored,
            "left_out": self.labelled.faults,
            "curves": {
                name: [point.to_json() for point in _spread(curve.points, 500)]
                for name, curve in self.curves.items()
            },
        }


def calibrate(
    ledgers: Sequence[Path], labels: Path, precision: float, score: ScoreName = "itm_score"
) -> Calibration:
    """Choose a threshold by labels. Raises UsageError if the labels cannot be used."""
    if not SHARE_ABOVE_ZERO.holds(precision):
        raise RangeError("precision", precision, str(SHARE_ABOVE_ZERO))
    faults: list[str] = []
    labelled = find_scores(ledgers, read_labels(labels, faults))
    labelled.faults[:0] = faults
    kinds = {text.match for text in labelled.texts}
    if True not in kinds:
        if labelled.missing and not labelled.texts:
            first = labelled.missing[0]
            raise UsageError(
                f"no label of {labels} fits a text of the ledger; the first is of key "
                f"{first.key!r}, {'text ' + repr(first.text) if first.text else first.source}"
            )
        raise UsageError(f"{labels} labels no scored text as a match; label one or more")
    curves: dict[ScoreName, Curve] = {name: _curve(labelled, name) for name in NAMES}
    return Calibration(
        precision=precision,
        score=score,
        curves=curves,
        labelled=labelled,
        chosen=curves[score].reaching(precision),
    )


def make_curve(
    scores: Float[np.ndarray, " texts"], matches: Bool[np.ndarray, " texts"], name: ScoreName
) -> Curve:
    """A point for every different score, taken as the threshold."""
    order = np.argsort(-scores, kind="stable")
    ordered, right = scores[order], np.cumsum(matches[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(order) else order
    total = int(matches.sum())
    points = [
        Point(
            threshold=float(ordered[place]),
            precision=Share(int(right[place]), int(place) + 1),
            recall=Share(int(right[place]), total),
        )
        for place in last
    ]
    return Curve(score=name, points=points)


def write_calibration(found: Calibration, folder: Path, *, overwrite: bool = False) -> None:
    """Write calibration.json, calibration.svg and calibration.md, which shows both.

    Raises UsageError if a different result is there, unless `overwrite` is true.
    """
    content = json_text(found.to_json(), indent=2, sort_keys=True) + "\n"
    files = {"json": content, "svg": draw(found), "md": describe(found)}
    for end in ("json", "md"):
        check_unchanged(folder / f"calibration.{end}", files[end], overwrite=overwrite)
    for end, data in files.items():
        write_atomically(folder / f"calibration.{end}", data)


def describe(found: Calibration) -> str:
    """The result in words, as Markdown."""
    name, curve, chosen = NAMES[found.score], found.curves[found.score], found.chosen
    lines = [f"# The threshold for a precision of {found.precision:g}", ""]
    lines += [f"{_describe_labels(found)} The score is the {name}.", ""]
    if chosen is None:
        best = curve.most_precise
        lines += [
            f"**Not reached.** The highest precision is {_share(best.precision)}, at threshold "
            f"{best.threshold:g}, with a recall of {_share(best.recall)}."
        ]
    else:
        lines += [
            f"**Threshold {chosen.threshold:g}**: precision {_share(chosen.precision)}, recall "
            f"{_share(chosen.recall)}."
        ]
    sure = curve.surely_reaching(found.precision)
    lines += ["", _describe_sure(sure, found.precision), "", "![](calibration.svg)", ""]
    lines += [
        "| threshold | kept | precision | 95 % interval | recall |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_row(point) for point in _spread(curve.points)]
    other: ScoreName = "itc_cosine" if found.score == "itm_score" else "itm_score"
    point = found.curves[other].reaching(found.precision)
    reached = "does not reach it at any threshold"
    if point is not None:
        reached = f"reaches it at {point.threshold:g} with a recall of {_share(point.recall)}"
    return "\n".join([*lines, "", f"The {NAMES[other]} alone {reached}.", ""])


def draw(found: Calibration) -> bytes:
    """Precision and recall by threshold, and one by the other for both scores, as SVG."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "blip", "svg.fonttype": "none"}):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
        curve = found.curves[found.score]
        thresholds = [point.threshold for point in curve.points]
        shares = np.array([point.precision.interval for point in curve.points])
        left.fill_between(thresholds, shares[:, 0], shares[:, 1], color="C0", alpha=0.2, lw=0)
        left.plot(thresholds, [p.precision.value for p in curve.points], "C0", label="precision")
        left.plot(thresholds, [p.recall.value for p in curve.points], "C1", label="recall")
        left.axhline(found.precision, color="grey", lw=0.8, ls=":")
        if found.chosen is not None:
            left.axvline(found.chosen.threshold, color="grey", lw=0.8, ls="--")
        left.set(xlabel=f"threshold ({NAMES[found.score]})", ylim=(0, 1.02))
        left.legend(loc="lower left")
        for name, shown in found.curves.items():
            recalls = [point.recall.value for point in shown.points]
            right.plot(recalls, [p.precision.value for p in shown.points], label=NAMES[name])
        right.axhline(found.precision, color="grey", lw=0.8, ls=":")
        right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        right.legend(loc="lower left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return buffer.getvalue()


def check_reached(found: Calibration) -> None:
    """Raises BlipError if no threshold reaches the precision."""
    if found.chosen is None:
        best = found.curves[found.score].most_precise
        raise BlipError(
            f"precision {found.precision:g} is not reached: at most {best.precision.value:.3f}, at "
            f"threshold {best.threshold:g} ({best.precision.part} of {best.precision.whole} texts)"
        )


def _curve(labelled: Labelled, name: ScoreName) -> Curve:
    scores = np.array([getattr(text, name) for text in labelled.texts])
    return make_curve(scores, np.array([text.match for text in labelled.texts]), name)


def _quality(point: Point) -> tuple[int, float]:
    return point.recall.part, point.precision.value


def _spread(points: Sequence[Point], most: int = 20) -> list[Point]:
    """Some of the points, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def _row(point: Point) -> str:
    low, high = point.precision.interval
    return (
        f"| {point.threshold:g} | {point.precision.whole} | {point.precision.value:.3f} "
        f"| {low:.3f} to {high:.3f} | {point.recall.value:.3f} |"
    )


def _share(share: Share) -> str:
    low, high = share.interval
    return (
        f"{share.value:.3f} ({share.part} of {share.whole}; 95 % interval {low:.3f} to {high:.3f})"
    )


def _describe_sure(sure: Point | None, precision: float) -> str:
    if sure is None:
        return (
            f"To be sure of {precision:g} (the lower end of the interval) takes more labels, or a "
            "better filter."
        )
    return (
        f"To be sure of {precision:g} (the lower end of the interval) takes threshold "
        f"{sure.threshold:g}, with a recall of {sure.recall.value:.3f}."
    )


def _describe_labels(found: Calibration) -> str:
    text = f"{len(found.labelled.texts)} labelled texts, {found.matches} of them matches."
    if len(found.labelled.texts) < FEW:
        text += f" These are few: below {FEW} labels a threshold is little more than a guess."
    if found.labelled.missing:
        text += f" {len(found.labelled.missing)} labels fit no text of the ledger."
    if faults := found.labelled.faults:
        text += f" {len(faults)} labels or ledgers were left out, the first: {faults[0]}."
    if found.labelled.unscored:
        text += f" {found.labelled.unscored} labelled texts were never scored, and left out."
    return text + " The intervals do not know that the threshold was chosen on the same labels."
