"""Options that several verbs have: where a model computes, what a row looks like, former names."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from blip.cli.from_dataclass import Options
from blip.config.ranges import BATCH_SIZE, COUNT, DEVICE, FRAMES, PrecisionChoice, check_fields
from blip.data.config import MAX_PIXELS
from blip.generation.config import DecodingConfig, DecodingKind


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """Where a model computes, in which format, and how large a picture may be."""

    device: Annotated[str, DEVICE] = "auto"
    """Where the model computes: auto, cpu, cuda or cuda:N."""
    precision: PrecisionChoice = "auto"
    """Number format; auto is bfloat16 on a GPU that has it, else float32; int8 is for CPUs."""
    max_pixels: Annotated[int, COUNT] = MAX_PIXELS
    """Width times height of the largest picture that is read."""

    def __post_init__(self) -> None:
        """Refuse an unknown device, and values out of range."""
        check_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowOptions:
    """What a row of the result looks like."""

    json: bool = False
    """Print a JSON object a line."""
    csv: bool = False
    """Print a CSV table with a header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureOptions:
    """How a verb reads many pictures and prints rows about them."""

    batch_size: Annotated[int, BATCH_SIZE] = 16
    """Pictures at a time, or frames."""
    frames: Annotated[int, FRAMES] = 8
    """Evenly spaced frames that are read of a video."""
    model: ModelOptions = ModelOptions()
    rows: RowOptions = RowOptions()

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


EITHER_ROWS = ("shared.rows.json", "shared.rows.csv")
"""Of which one may be given, where a verb's `PictureOptions` are its field `shared`."""


NO_VIDEO = {"without a video": ("shared.frames",)}
"""Options of a verb with `PictureOptions` that none but videos use, for `refuse_unused`."""


DECODING_NAMES = {"decoding.kind": "decode"}
DECODING_GROUP = {"how captions are written": ("decoding",)}
DECODING_HIDDEN = tuple(
    f"decoding.{name}" for name in ("length_penalty", "scored_length", "early_stopping")
)
"""How the fields of `DecodingConfig` look in every verb that writes captions."""


_OF_BEAMS = ("beams", "length_penalty", "scored_length", "early_stopping")
_OF_SAMPLES = ("top_p", "top_k", "temperature")


def unused_by(kind: DecodingKind) -> dict[str, tuple[str, ...]]:
    """The decoding options that this kind of decoding ignores, by why, for `refuse_unused`."""
    ignored = {
        "greedy": (*_OF_BEAMS, *_OF_SAMPLES),
        "beam": _OF_SAMPLES,
        "nucleus": _OF_BEAMS,
    }
    return {f"with --decode {kind}": tuple(f"decoding.{name}" for name in ignored[kind])}


class _PrintAndLeave(argparse.Action):
    """Prints a text and leaves, as `--help` does: nothing else needs to be given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(self.const())
        parser.exit()


def add_listing(parser: argparse.ArgumentParser, things: str, show: Callable[[], str]) -> None:
    """Declare `--list`, which prints the text that `show` returns and leaves."""
    meaning = f"list the {things} and exit"
    parser.add_argument("--list", action=_PrintAndLeave, nargs=0, const=show, help=meaning)


@dataclass(frozen=True)
class Renamed:
    """An option of earlier releases, which works for one more release and prints a hint."""

    old: str
    new: str
    """Its name now: an option, or the name that `--help` gives an argument, such as DIR."""
    when: Callable[[str], bool] | None = None
    """Which values were meant for the new option, where the old one lives on for others."""


def read_old_names(arguments: Sequence[str], renamed: Sequence[Renamed]) -> list[str]:
    """The command line with the new name of every renamed option; prints a hint for each."""
    read, rest = list[str](), list(arguments)
    while rest and rest[0] != "--":
        name, equals, value = rest[0].partition("=")
        value = value if equals else (rest[1] if len(rest) > 1 else "")
        former = [r for r in renamed if r.old == name and (r.when is None or r.when(value))]
        given = rest[: 1 if equals else 2]
        rest = rest[len(given) :]
        if not former:
            read += given[:1]
            rest = given[1:] + rest
            continue
        new = former[0].new
        is_option = new.startswith("--")
        print(f"{name} is now {'' if is_option else 'the argument '}{new}", file=sys.stderr)
        if is_option:
            read += [f"{new}={value}"] if equals else [new, *given[1:]]
        else:
            # First, for an option that takes several values would take this one, too.
            read[:0] = [value]
    return read + rest


LEDGER_OPTION = Renamed("--ledger", "DIR")


def is_no_number(text: str) -> bool:
    """Whether a value was meant for something else than a number."""
    try:
        float(text)
    except ValueError:
        return True
    return False


def with_typed_decoding(
    published: DecodingConfig, options: Options[Any], args: argparse.Namespace
) -> DecodingConfig:
    """How answers are written: as the release did, but for the decoding options that were typed."""
    typed = options.typed(args).items()
    changes = {key.partition(".")[2]: one for key, one in typed if key.startswith("decoding.")}
    return replace(published, **changes)
