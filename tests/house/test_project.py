"""What several places say is the same in all of them."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import blip
from blip.cli.main import VERBS, actions_of, make_parser

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there_whole(verb):
    module = importlib.import_module(f"blip.cli.{verb}")
    assert callable(module.run)
    assert module.EXAMPLES.startswith("examples:\n")
    assert not VERBS[verb].endswith(".")
    assert make_parser(verb).format_help()


def test_every_module_that_runs_is_a_verb():
    with_run = {
        path.stem
        for path in (ROOT / "src/blip/cli").glob("*.py")
        if re.search(r"^def run\(args", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    actions = {f"{verb}_{action}" for verb in VERBS for action in actions_of(verb)}
    assert with_run == set(VERBS) | actions


def test_a_former_public_name_gives_the_current_one_and_a_warning():
    with pytest.warns(DeprecationWarning, match=r"blip\.SearchConfig is now blip\.DecodingConfig"):
        assert blip.SearchConfig is blip.DecodingConfig


def test_public_names_resolve_and_the_rest_does_not():
    assert blip.__version__ == PROJECT["version"]
    assert set(blip.__all__) <= set(dir(blip))
    for name in blip.__all__:
        assert getattr(blip, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'blip' has no attribute 'Nothing'"):
        _ = blip.Nothing


def test_import_blip_loads_no_torch():
    code = "import sys, blip; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_make_installs_the_torch_that_the_project_asks_for():
    (least,) = re.findall(r"^TORCH_LEAST := (\S+)$", MAKEFILE, re.MULTILINE)
    assert f"torch>={least}" in PROJECT["dependencies"]


def test_make_help_lists_every_target():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    result = set(re.findall(r"^make (\S+)", done.stdout, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", MAKEFILE, re.MULTILINE)
    assert result == {*phony.split(), ".venv"} - {"help"}


def test_the_change_log_has_a_place_for_the_next_change():
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
