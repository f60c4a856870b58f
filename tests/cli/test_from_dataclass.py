"""Options made from a dataclass: types, defaults, nouns, groups, and errors in one line."""

import argparse
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from blip.cli.from_dataclass import Options
from blip.cli.main import VERBS, actions_of, make_parser
from blip.cli.parser import Parser
from blip.config.ranges import BATCH_SIZE, COUNT, DEVICE, PLACE, SEED, SHARE, Range, check_fields
from blip.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part."""

    rate: Annotated[float, Range(above=0, most=10)] = 0.5
    """How fast it is. More words that --help leaves out."""
    kind: Literal["red", "blue"] = "red"
    """Colour of the part."""
    depth: int = 3
    """ITC depth."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What a verb is asked to do."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder."""
    places: tuple[str, ...] = ()
    """Places of it."""
    count: Annotated[int, COUNT]
    """Things at a time."""
    size: Annotated[int | Literal["auto"], BATCH_SIZE] = "auto"
    """Size of a batch, 5% more."""
    share: Annotated[float | None, SHARE] = None
    """Share of all."""
    out: Path | None = None
    """Folder of results."""
    device: Annotated[str, DEVICE] = "cpu"
    """Device."""
    seed: Annotated[int, SEED] = 0
    """Seed."""
    words: Annotated[tuple[int, ...], COUNT] = (1, 2)
    """Numbers of words."""
    pair: tuple[int, int] | None = None
    """Two numbers."""
    quiet: bool = False
    """Print nothing."""
    mirror: bool = True
    """Mirror pictures."""
    part: Part = Part(kind="blue")

    def __post_init__(self) -> None:
        check_fields(self)


OPTIONS = Options(
    of=Whole,
    arguments=("checkpoint", "places"),
    names={"part.kind": "colour"},
    groups={"the part": ("part",)},
    hidden=("part.depth",),
)
NEEDED = {"checkpoint": "c", "count": 1}


def make() -> Parser:
    parser = Parser(prog="verb")
    OPTIONS.declare(parser)
    return parser


def read(*words: str, base: dict[str, Any] | None = None) -> Whole:
    return OPTIONS.read(make().parse(words), base)


def test_what_is_not_typed_has_its_default():
    assert read("c", "--count", "1") == Whole(**NEEDED)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--share", ".5", "--size", "7"], {"share": 0.5, "size": 7}),
        (["--share", "none", "--size", "auto"], {"share": None, "size": "auto"}),
        (["--quiet", "--no-mirror"], {"quiet": True, "mirror": False}),
        (["--words", "3", "4", "--words", "5"], {"words": (3, 4, 5)}),
        (["--pair", "1", "2"], {"pair": (1, 2)}),
        (["--out=runs/a", "--device", "cuda:1"], {"out": Path("runs/a"), "device": "cuda:1"}),
        (["--colour", "red", "--rate", "1e-3"], {"part": Part(rate=1e-3, kind="red")}),
        (["--rate", "2"], {"part": Part(rate=2.0, kind="blue")}),
        (["--part.rate", "2"], {"part": Part(rate=2.0, kind="blue")}),
        (["--part.depth", "9"], {"part": Part(depth=9, kind="blue")}),
    ],
)
def test_what_is_typed_is_read_by_the_type_of_its_field(words, fields):
    assert read("c", "--count", "1", *words) == Whole(**{**NEEDED, **fields})


def test_arguments_are_given_by_their_places():
    assert read("c", "a", "b", "--count", "1").places == ("a", "b")


@pytest.mark.parametrize("spelling", ["--part-rate", "--part.rate", "--Rate", "--rat"])
def test_only_names_and_keys_are_options(spelling):
    if spelling == "--part.rate":
        assert read("c", "--count", "1", spelling, "2").part.rate == 2
        return
    with pytest.raises(UsageError, match=f"unknown option {spelling}"):
        read("c", "--count", "1", spelling, "2")


def test_a_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = read("~/runs", "--count", "1", "--out=~/results")
    assert (found.checkpoint, found.out) == (str(tmp_path / "runs"), tmp_path / "results")
    with pytest.raises(
        UsageError, match="cannot find ~nosuchuser/x: this machine has no such user"
    ):
        read("~nosuchuser/x", "--count", "1")


@dataclass(frozen=True, kw_only=True)
class MayBeAbsent:
    """What may be left out."""

    recipe: str | None = None
    """A recipe."""
    source: Annotated[str | None, PLACE] = None
    """A checkpoint."""
    destination: Path | None = None
    """A folder."""
    share: float | None = None
    """A share."""


@pytest.mark.parametrize("name", ["none", "None", "null", "1", "true", "{}"])
def test_a_path_is_taken_as_it_stands(name):
    options = Options(of=MayBeAbsent, arguments=("recipe", "source", "destination"))
    parser = Parser(prog="verb")
    options.declare(parser)
    by_place = options.read(parser.parse([name, name, name, "--share", "none"]))
    assert by_place == MayBeAbsent(recipe=name, source=name, destination=Path(name), share=None)
    by_name = read(name, name, "--count", "1", "--out", name)
    assert (by_name.checkpoint, by_name.places, by_name.out) == (name, (name,), Path(name))


WRONG = [
    (["--count", "many"], "--count is 'many'; allowed: a whole number from 1 to"),
    (["--count", "1.5"], "--count is '1.5'; allowed: "),
    (["--count", "1_0"], "--count is '1_0'; allowed: "),
    (["--count", "\u0663"], "--count is '\u0663'; allowed: "),
    (["--count", "1" * 5000], "--count is '111"),
    (["--count", "0"], "--count is 0; allowed: a whole number from 1 to"),
    (["--seed", str(2**63)], f"--seed is {2**63}; allowed: a whole number from 0 to"),
    (["--size", "all"], "--size is 'all'; allowed: auto, or a whole number from 1 to"),
    (["--share", "nan"], "--share is 'nan'; allowed: a finite number from 0 to 1"),
    (["--share", "1e999"], "--share is inf; allowed: a finite number from 0 to 1"),
    (["--rate", "0"], "--rate is 0.0; allowed: a finite number above 0"),
    (["--words", "3", "0"], "--words is 0; allowed: a whole number from 1"),
    (["--out", " "], "--out is ' '; allowed: the path of a file or a folder"),
    (["--out", "a\0b"], "allowed: the path of a file or a folder"),
    (["--device", "gpu"], "--device is 'gpu'; allowed: auto, cpu, cuda or cuda:N"),
    (["--colour", "green"], "--colour is 'green'; allowed: red, blue"),
    (["--pair", "1"], "argument --pair: expected 2 arguments"),
    (["--quiet=yes"], "argument --quiet: ignored explicit argument 'yes'"),
    (["--mirrr"], "unknown option --mirrr (did you mean --mirror?); see `verb --help`"),
    (["--part.rat", "1"], "unknown option --part.rat (did you mean --rate?); see `verb --help`"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_what_cannot_work_is_one_line_that_says_what_is_allowed(words, message):
    with pytest.raises(UsageError) as caught:
        read("c", "--count", "1", *words)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_what_must_be_given_is_named():
    with pytest.raises(UsageError, match=r"are required: CKPT, .*--count; see `verb --help`"):
        read()


def test_what_is_typed_wins_over_a_file():
    options = Options(of=Whole, from_file=True)
    parser = Parser(prog="verb")
    options.declare(parser)
    base = {"count": 3, "part": {"rate": 4.0}, "size": 5}
    args = parser.parse(["--checkpoint", "c", "--size", "6"])
    expected = Whole(checkpoint="c", count=3, size=6, part=Part(rate=4.0, kind="blue"))
    assert options.read(args, base) == expected
    args_with_none = parser.parse(["--checkpoint", "c", "--share", "none"])
    assert options.read(args_with_none, {"count": 3, "share": 0.5}).share is None
    with pytest.raises(
        UsageError,
        match=r"^--checkpoint, --count missing: give them, or a config.json that has them$",
    ):
        options.read(parser.parse([]), {"size": 1})
    with pytest.raises(UsageError, match=r"^`part\.rate` is -1\.0; allowed: "):
        options.read(args, {"count": 1, "part": {"rate": -1}})


@pytest.mark.parametrize(
    ("words", "is_quiet"),
    [
        (["--no-quiet"], False),
        (["--no_quiet"], False),
        (["--quiet", "false"], False),
        (["--quiet=False"], False),
        (["--quiet"], True),
        (["--quiet", "true"], True),
    ],
)
def test_a_flag_of_a_file_can_be_turned_off(words, is_quiet):
    options = Options(of=Whole, from_file=True)
    parser = Parser(prog="verb")
    options.declare(parser)
    base = {"checkpoint": "c", "count": 3, "quiet": not is_quiet}
    assert options.read(parser.parse([]), base).quiet is not is_quiet
    assert options.read(parser.parse([*words, "--seed", "1"]), base).quiet is is_quiet


def test_help_has_nouns_defaults_groups_and_first_sentences():
    text = " ".join(make().format_help().split())
    for part in (
        "CKPT checkpoint or run folder",
        "--count N things at a time --size",
        "size of a batch, 5% more (default: auto)",
        "--share X share of all (default: none)",
        "--out DIR folder of results --device",
        "--words N [N ...] numbers of words (default: 1 2)",
        "--quiet print nothing --mirror, --no-mirror mirror pictures (default: yes)",
        "the part: --rate X how fast it is (default: 0.5) --colour {red,blue} colour",
        "(default: blue)",
    ):
        assert part in text
    assert "depth" not in text


COMMANDS = [*VERBS, *(f"{verb} {action}" for verb in VERBS for action in actions_of(verb))]


def declared(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from declared(below)
        elif not isinstance(action, argparse._HelpAction):
            yield action


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_and_every_value_a_noun_and_a_reader(command):
    for action in declared(make_parser(command)):
        assert action.help
        if action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction):
            assert action.metavar or action.choices, action.dest
            assert action.type is not None, action.dest
            assert action.type not in (int, float, str, Path), action.dest


DIFFERENT = {
    *("--data", "--out", "--overwrite", "--json", "--list", "--write", "--captions", "--seed"),
    *("--batch-size", "--candidates", "--task", "--threshold", "--score", "--answers"),
    *("--frames", "--keys", "--filter", "--engine", "--compile"),
}
"""Options that are about something else in each verb."""


def test_the_same_option_reads_the_same_in_every_verb():
    shown = defaultdict(set)
    for command in COMMANDS:
        for action in declared(make_parser(command)):
            for name in action.option_strings:
                text = re.sub(r" \(default: [^()]*\)$", "", action.help or "")
                shown[name].add((text, str(action.metavar or action.choices)))
    different = {name for name, forms in shown.items() if len(forms) > 1}
    assert different <= DIFFERENT


def test_none_is_the_default_only_where_the_word_none_gives_it():
    for command in COMMANDS:
        for action in declared(make_parser(command)):
            if (action.help or "").endswith("(default: none)"):
                assert callable(action.type)
                assert action.type("none") is None, (command, action.dest)
                assert not action.choices, (command, action.dest)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command):
    code = (
        "import sys; from blip.cli.main import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'pyarrow', 'PIL', 'tokenizers', 'rich'} & sys.modules.keys();"
        "sys.exit(','.join(heavy) or 0)"
    )
    words = [*command.split(), "--help"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
