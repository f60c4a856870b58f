"""Options of earlier releases work, and a number that cannot work is named as it was typed."""

import json

import pytest

from blip.cli.capfilt import read_config
from blip.cli.main import main, parse

CAPFILT = ["capfilt", "--captioner", "c", "--filter", "f", "--data", "d", "--out", "o"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [*CAPFILT, "--beams", "100000"],
            "--beams is 100000; allowed: a whole number from 1 to 1000",
        ),
        ([*CAPFILT, "--min-words", "0"], "--min-words is 0; allowed: a whole number from 1 "),
        (
            ["capfilt", "calibrate", "c", "--labels", "l", "--target-precision", "0"],
            "--target-precision is 0.0; allowed: a finite number above 0 and of at most 1",
        ),
        (["evaluate", "c", "--data", "d", "--candidates", "0"], "--candidates is 0; allowed: "),
        (["evaluate", "c", "--data", "d", "--max-length", "1"], "--max-length is 1; allowed: "),
        (
            ["caption", "c", "p", "--max-length", "2"],
            "--min-length is 5; allowed: a whole number from 0 to 2",
        ),
        ([*CAPFILT, "--max-length", "2"], "--min-length is 5; allowed: a whole number from 0 to 2"),
        (
            ["capfilt", "words.json", "--beams", "1", "--max-words", "1"],
            "`rules.min_words` is 0; allowed: a whole number from 1 to",
        ),
        (
            ["capfilt", "wrong.json"],
            "`decoding.beams` is 0; allowed: a whole number from 1 to 1000",
        ),
    ],
)
def test_a_number_is_named_as_it_was_given(words, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    needed = {"captioner": "c", "filter": "f", "data": ["d"], "out": "o"}
    for name, part in (
        ("wrong", {"decoding": {"beams": 0}}),
        ("words", {"rules": {"min_words": 0}}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps({**needed, **part}))
    assert main(words) == 2
    assert f"blip: error: {message}" in capsys.readouterr().err


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
    assert "error: --decode is 'beams'; allowed: greedy, beam, nucleus" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--no-unique-texts"],
        ["--unique-texts", "false"],
        ["--job_rules.unique_texts", "false"],
        ["--no-job_rules.unique_texts"],
        ["--job_rules.no_unique_texts"],
    ],
)
def test_a_rule_of_a_config_can_be_turned_off(words, tmp_path):
    config = tmp_path / "config.json"
    needed = {"captioner": "c", "filter": "f", "data": ["d"], "out": "o"}
    config.write_text(json.dumps({**needed, "job_rules": {"unique_texts": True}}))
    assert read_config(parse(["capfilt", str(config)])).job_rules.unique_texts
    assert not read_config(parse(["capfilt", str(config), *words])).job_rules.unique_texts


def test_a_text_behind_the_options_is_never_an_old_option(capsys):
    assert parse(["caption", "c", "--", "--search"]).pictures == ["--search"]
    assert capsys.readouterr().err == ""
