"""The types of options refuse what cannot work, in the words of the ranges."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blip.cli import options
from blip.cli.main import VERBS, actions_of, main, make_parser, parse
from blip.errors import UsageError


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (options.positive_int, "7", 7),
        (options.int_or_zero, "0", 0),
        (options.batch_size, "16", 16),
        (options.seed, "9223372036854775807", 2**63 - 1),
        (options.share, "0.5", 0.5),
        (options.finite_float, "-1e3", -1000.0),
        (options.output_folder, "runs/a", Path("runs/a")),
        (options.device, "cuda:1", "cuda:1"),
    ],
)
def test_what_can_work_passes(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (options.positive_int, "0"),
        (options.positive_int, "-1"),
        (options.positive_int, "1.5"),
        (options.positive_int, "1" * 5000),
        (options.batch_size, "100000000"),
        (options.seed, "-1"),
        (options.seed, str(2**63)),
        (options.share, "1.01"),
        (options.share, "nan"),
        (options.finite_float, "inf"),
        (options.finite_float, "1e999"),
        (options.output_folder, ""),
        (options.output_folder, " "),
        (options.output_folder, "a\0b"),
        (options.device, "foo"),
        (options.device, "cuda:"),
        (options.device, ""),
    ],
)
def test_what_cannot_work_is_refused_with_what_is_allowed(read, text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"^got '.*; allowed: ") as caught:
        read(text)
    assert len(str(caught.value)) < 250


def test_an_unknown_user_has_no_home():
    with pytest.raises(UsageError, match="cannot find ~nosuchuser/x: this machine has no such"):
        options.output_folder("~nosuchuser/x")


def test_a_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert options.output_folder("~/runs") == tmp_path / "runs"


def test_a_wrong_number_of_decoding_names_its_option():
    with pytest.raises(UsageError, match=r"--repetition-penalty is 1e-308; allowed: a finite"):
        options.decoding_config(kind="beam", repetition_penalty=1e-308)


def declared(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from declared(below)
        else:
            yield action


@pytest.mark.parametrize(
    "command", [*VERBS, *(f"{verb} {action}" for verb in VERBS for action in actions_of(verb))]
)
def test_every_number_and_every_place_has_a_shared_type(command):
    plain = [
        action.dest
        for action in declared(make_parser(command))
        if action.type in (int, float, Path, str)
        or (action.type is None and action.dest in ("out", "device", "seed", "checkpoint"))
    ]
    assert not plain


CAPFILT = ["capfilt", "--captioner", "c", "--filter", "f", "--data", "d", "--out", "o"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            [*CAPFILT, "--beams", "100000"],
            "--beams is 100000; allowed: a whole number from 1 to 1000",
        ),
        ([*CAPFILT, "--min-words", "0"], "--min-words is 0; allowed: a whole number from 1 "),
        (["evaluate", "c", "--data", "d", "--candidates", "0"], "--candidates is 0; allowed: "),
        (["evaluate", "c", "--data", "d", "--max-length", "1"], "--max-length is 1; allowed: "),
        (
            ["capfilt", "wrong.json"],
            "`decoding.beams` is 0; allowed: a whole number from 1 to 1000",
        ),
    ],
)
def test_a_number_is_named_as_it_was_given(words, told, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    needed = {"captioner": "c", "filter": "f", "data": ["d"], "out": "o"}
    (tmp_path / "wrong.json").write_text(json.dumps({**needed, "decoding": {"beams": 0}}))
    assert main(words) == 2
    assert f"blip: error: {told}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "now", "hint"),
    [
        ("caption c p --search beam", "caption c p --decode beam", "--search is now --decode"),
        ("caption c p --search=beam", "caption c p --decode=beam", "--search is now --decode"),
        (
            "ask c p what? --candidates answers.txt --top-k 7",
            "ask c p what? --answers answers.txt --candidates 7",
            "--candidates is now --answers\n--top-k is now --candidates",
        ),
        (
            "capfilt calibrate --ledger job --labels l.csv --precision 0.9",
            "capfilt calibrate job --labels l.csv --target-precision 0.9",
            "--ledger is now the argument DIR\n--precision is now --target-precision",
        ),
        (
            "capfilt recut --out cut --data a b --ledger=job",
            "capfilt recut job --out cut --data a b",
            "--ledger is now the argument DIR",
        ),
        (
            "capfilt c.json --search greedy",
            "capfilt c.json --decode greedy",
            "--search is now --decode",
        ),
    ],
)
def test_an_option_of_earlier_releases_works_and_prints_a_hint(before, now, hint, capsys):
    read = parse(before.split())
    assert capsys.readouterr().err == f"{hint}\n"
    assert read == parse(now.split())
    assert capsys.readouterr().err == ""


def test_a_wrong_value_of_an_old_option_is_refused_under_the_new_name(capsys):
    assert main(["caption", "c", "p", "--search", "beams"]) == 2
    assert "error: argument --decode: invalid choice: 'beams'" in capsys.readouterr().err


def test_a_text_behind_the_options_is_never_an_old_option(capsys):
    assert parse(["caption", "c", "--", "--search"]).pictures == [Path("--search")]
    assert capsys.readouterr().err == ""
