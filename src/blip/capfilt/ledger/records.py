"""What CapFilt records: a row for every text, counts for every shard."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from blip.data import texts
from blip.errors import BlipError

Source = Literal["web", "synthetic", "bad"]
"""Where a text is from; `bad` marks a sample without a usable image, whose texts are not read."""

SOURCES = ("web", "synthetic")
"""Where the texts of an image come from."""

MATCH = "match"
BELOW_THRESHOLD = "below_threshold"
EMPTY_TEXT = "empty_text"
MISSING_TEXT = texts.MISSING
SCORE_NOT_FINITE = "score_not_finite"
TEXT_FAULTS = texts.TEXT_FAULTS | {"broken_json"}
"""Faults of a sample that leave its image usable."""
BELOW_ITC = "below_itc"
TOO_FEW_WORDS = "too_few_words"
TOO_MANY_WORDS = "too_many_words"
OTHER_LANGUAGE = "other_language"
IMAGE_TOO_SMALL = "image_too_small"
IMAGE_TOO_LONG = "image_too_long"
NOT_BEST = "not_best"
REPEATED_TEXT = "repeated_text"
DUPLICATE_IMAGE = "duplicate_image"
DUPLICATE_TEXT = "duplicate_text"
RULES = (
    BELOW_THRESHOLD,
    IMAGE_TOO_SMALL,
    IMAGE_TOO_LONG,
    TOO_FEW_WORDS,
    TOO_MANY_WORDS,
    OTHER_LANGUAGE,
    BELOW_ITC,
    NOT_BEST,
    REPEATED_TEXT,
    DUPLICATE_IMAGE,
    DUPLICATE_TEXT,
)
"""Why a text with a score is dropped, in the order of the rules: the first that fails counts."""
OF_TEXTS = TEXT_FAULTS | {MATCH, EMPTY_TEXT, MISSING_TEXT, SCORE_NOT_FINITE, *RULES}
"""Reasons that concern a text; all others concern a bad sample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRecord:
    """One row of the ledger: a text that CapFilt looked at, or a bad sample.

    What has a default is filled when the rows are decided on, as columns of a table.
    """

    shard: str
    key: str
    """Of the sample in the input."""
    source: Source
    number: int
    """Which of the sample's texts of this source, from 0."""
    text: str
    itm_score: float | None
    """Probability of a match; None where the text was not scored."""
    itc_cosine: float | None
    kept: bool = False
    reason: str
    """`match` where kept, otherwise one word for the reason."""
    captioner: str
    """Fingerprint of the captioner: of weights, tokenizer and sizes."""
    filter: str
    seed: int
    width: int | None
    """Of the image, decoded and rotated by EXIF, in pixels; None where it is bad."""
    height: int | None
    image_hash: int | None
    """Similar for images that look similar; None for a bad image, or one of one colour."""
    language: str | None = None
    """Two letters; None where no rule needs it."""
    repeats: int | None = None
    """How often the text occurs in the ledgers of the whole job, kept or not; None without rules of
    the whole job, or where the text was not scored."""
    error: str | None
    """The fault of the sample, in full."""


def output_key(key: str, source: str, number: int) -> str:
    """Key in the output shard of a text of sample `key`: KEY-web, KEY-web-1, KEY-synthetic-0..."""
    return f"{key}-web" if (source, number) == ("web", 0) else f"{key}-{source}-{number}"


@dataclass(slots=True)
class Counts:
    """What became of the samples and texts of a shard, or of a whole job.

    Always `images == images_kept + images_dropped + images_bad`. An image is kept where one of its
    texts is.
    """

    images: int = 0
    images_kept: int = 0
    images_dropped: int = 0
    images_bad: int = 0
    web_kept: int = 0
    web_dropped: int = 0
    synthetic_kept: int = 0
    synthetic_dropped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Records by reason, the bad samples among them."""

    def add(self, other: "Counts") -> None:
        """Count all that another counted."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)

    def negative(self) -> "Counts":
        """The same counts with a minus sign: added to others, they take these back."""
        numbers = {name: -getattr(self, name) for name in _NUMBERS}
        return Counts(**numbers, reasons=Counter({r: -n for r, n in self.reasons.items()}))

    @property
    def texts_kept(self) -> int:
        """Samples of the output."""
        return self.web_kept + self.synthetic_kept

    def texts(self, source: str) -> tuple[int, int]:
        """How many texts of a source, `web` or `synthetic`, were kept, and how many dropped.

        An image that came without a text has a web record that says so, but no text to drop.
        """
        if source == "web":
            return self.web_kept, self.web_dropped - self.reasons[MISSING_TEXT]
        return self.synthetic_kept, self.synthetic_dropped

    @property
    def records(self) -> int:
        """Rows of the ledger."""
        return self.texts_kept + self.web_dropped + self.synthetic_dropped + self.images_bad

    def check(self, samples: int) -> None:
        """Raises BlipError unless each of `samples` is exactly one of kept, dropped and bad."""
        accounted = self.images_kept + self.images_dropped + self.images_bad
        if not samples == self.images == accounted or self.records != self.reasons.total():
            raise BlipError(f"{samples} samples were read, but the counts differ: {self}")

    def to_json(self) -> dict[str, object]:
        """All counts, the reasons as a dictionary."""
        numbers: dict[str, object] = {name: getattr(self, name) for name in _NUMBERS}
        return {**numbers, "reasons": dict(sorted(self.reasons.items()))}

    @classmethod
    def from_json(cls, data: dict[str, object]) -> "Counts":
        """The counts that `to_json` wrote; raises KeyError or TypeError for anything else."""
        counts, reasons = cls(), data["reasons"]
        for name in _NUMBERS:
            setattr(counts, name, _integer(data[name]))
        if not isinstance(reasons, dict):
            raise TypeError(f"reasons are {reasons!r}")
        counts.reasons.update({str(name): _integer(number) for name, number in reasons.items()})
        return counts


_NUMBERS = (
    "images",
    "images_kept",
    "images_dropped",
    "images_bad",
    "web_kept",
    "web_dropped",
    "synthetic_kept",
    "synthetic_dropped",
)


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"not a count: {value!r}")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardOutcome:
    """A finished shard."""

    name: str
    counts: Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchDone:
    """The counts of a batch of an unfinished shard, for the progress bar."""

    counts: Counts
