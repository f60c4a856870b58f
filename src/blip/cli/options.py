"""Types of options that verbs share: what cannot work ends in one line before any work begins."""

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blip.config.ranges import (
    BATCH_SIZE,
    COUNT,
    COUNT_OR_NONE,
    DEVICE,
    SEED,
    SHARE,
    Range,
    RangeError,
)
from blip.errors import UsageError
from blip.files import is_utf8
from blip.places import home_path

if TYPE_CHECKING:
    from blip.generation.config import DecodingConfig

JSON_HELP = "a JSON object a line"


def number(allowed: Range, word: str | None = None) -> Callable[[str], int | float | str]:
    """The type of an option that takes a number of this range, or one word such as auto."""

    def read(text: str) -> int | float | str:
        if text == word:
            return text
        try:
            value = int(text) if allowed.whole else float(text)
        except ValueError:
            value = None
        if value is None or not allowed.holds(value):
            either = f"{word}, or " if word else ""
            raise argparse.ArgumentTypeError(f"got {text[:80]!r}; allowed: {either}{allowed}")
        return value

    return read


whole_number = number(Range(whole=True))
"""For fields whose configuration knows the range."""
positive_int = number(COUNT)
int_or_zero = number(COUNT_OR_NONE)
batch_size = number(BATCH_SIZE)
batch_size_or_auto = number(BATCH_SIZE, "auto")
seed = number(SEED)
share = number(SHARE)
finite_float = number(Range())


def output_folder(text: str) -> Path:
    """The type of an option that names a folder or a file to write; refuses an empty text."""
    return Path(path_text(text))


def input_path(text: str) -> Path:
    """The type of an option that names a file or a folder to read; "" is not this folder."""
    return Path(path_text(text))


def path_text(text: str) -> str:
    """The type of an option that names a place on this disk; refuses what no file system has."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: the path of a file or a folder")
    # The shell leaves it alone in --out=~/runs.
    return str(home_path(text)) if text.startswith("~") else text


def device(text: str) -> str:
    """The type of an option that names a device; whether it is there, torch finds out later."""
    if not DEVICE.holds(text):
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: {DEVICE}")
    return text


def plain_text(text: str) -> str:
    """The type of an option for a tokenizer to read; refuses what is not UTF-8."""
    if not is_utf8(text):
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: text in UTF-8")
    return text


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
        found = [one for one in renamed if one.old == name and (not one.when or one.when(value))]
        given = rest[: 1 if equals else 2]
        rest = rest[len(given) :]
        if not found:
            read += given[:1]
            rest = given[1:] + rest
            continue
        new = found[0].new
        is_option = new.startswith("--")
        print(f"{name} is now {'' if is_option else 'the argument '}{new}", file=sys.stderr)
        if is_option:
            read += [f"{new}={value}"] if equals else [new, *given[1:]]
        else:
            # First, for an option that takes several values would take this one, too.
            read[:0] = [value]
    return read + rest


def add_ledger(parser: argparse.ArgumentParser) -> None:
    """Declare the job whose ledger is read; `LEDGER_OPTION` is how it was called before."""
    parser.add_argument(
        "ledger", type=path_text, metavar="DIR", help="folder of a job, or its ledger/"
    )


LEDGER_OPTION = Renamed("--ledger", "DIR")


def is_no_number(text: str) -> bool:
    """Whether a value was meant for something else than a number."""
    try:
        float(text)
    except ValueError:
        return True
    return False


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Where a model computes, in which format, and how large a picture may be."""
    parser.add_argument(
        "--device", type=device, default="auto", help="auto, cpu, cuda or cuda:N (auto)"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="number format (auto: bfloat16 on a GPU that has it, else float32)",
    )
    add_max_pixels(parser)


def add_max_pixels(parser: argparse.ArgumentParser, default: int | None = None) -> None:
    """How large a picture may be; with `default` None, the function that reads it decides."""
    parser.add_argument(
        "--max-pixels",
        type=positive_int,
        default=default,
        metavar="N",
        help="largest picture that is read: width times height (100000000)",
    )


def add_row_formats(parser: argparse.ArgumentParser) -> None:
    """What a row of the result looks like."""
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help=JSON_HELP)
    formats.add_argument("--csv", action="store_true", help="a CSV table with a header")


def decoding_config(**fields: Any) -> "DecodingConfig":
    """How texts are decoded; raises UsageError that names the option of the wrong field."""
    from blip.generation.config import DecodingConfig

    with naming_options(fields):
        return DecodingConfig(**fields)


@contextmanager
def naming_options(given: Collection[str]) -> Iterator[None]:
    """Let errors of fields of a configuration that were given as options name the option."""
    try:
        yield
    except RangeError as error:
        field = error.name.rpartition(".")[2]
        if field not in given:
            raise
        option = f"--{field.replace('_', '-')}"
        raise UsageError(f"{option} is {error.value}; allowed: {error.allowed}") from error


def given_options(args: argparse.Namespace) -> set[str]:
    """The names of all options that have a value."""
    return {name for name, value in vars(args).items() if value is not None}
