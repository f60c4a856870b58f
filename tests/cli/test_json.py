"""Every verb prints its result as JSON where it is asked to, and nothing else on stdout."""

import json
from pathlib import Path
from typing import Any

import pytest

from blip.cli.main import VERBS, actions_of, main, make_parser
from blip.cli.parser import Parser
from blip.config.strict import from_json, to_json
from blip.data.scenes.config import ScenesConfig
from blip.recipes.config import BootstrapConfig
from blip.tasks.config import PretrainConfig
from tests.support.saved_models import save_picture, save_tiny

COMMANDS = [*VERBS, *(f"{verb} {action}" for verb in VERBS for action in actions_of(verb))]


def parsers() -> dict[str, Parser]:
    found: dict[str, Parser] = {}
    for command in COMMANDS:
        parser = make_parser(command)
        below = {f"{command} {name}": action for name, _, action in parser.actions()}
        found |= below or {command: parser}
    return found


# `completion` prints a script for a shell.
@pytest.mark.parametrize("command", sorted(parsers().keys() - {"completion"}))
def test_every_verb_has_json(command: str) -> None:
    assert "--json" in [argument.usage for argument in parsers()[command].arguments()]


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """The one line of a command."""
    assert main([*map(str, words), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


@pytest.mark.parametrize(
    ("words", "cls"),
    [
        (["pretrain", "base_14m"], PretrainConfig),
        (["bootstrap", "scenes_demo"], BootstrapConfig),
        (["demo"], BootstrapConfig),
        (["data", "scenes"], ScenesConfig),
    ],
)
def test_keys_as_json_are_a_configuration_to_start_from(
    words: list[str], cls: type[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert to_json(from_json(cls, printed(capsys, *words, "--keys"))) == printed(
        capsys, *words, "--keys"
    )


def test_data_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes = tmp_path / "scenes"
    few = ["--human", "2", "--web", "3", "--val", "1", "--test", "1"]
    drawn = printed(capsys, "data", "scenes", scenes, *few)
    assert drawn == {
        "out": str(scenes),
        "images": {"human": 2, "web": 3, "val": 1, "test": 1},
        "videos": 0,
    }
    packed = printed(capsys, "data", "pack", scenes / "web", tmp_path / "packed")
    assert packed == {"out": str(tmp_path / "packed"), "samples": 3, "shards": 1, "left_out": {}}
    assert printed(capsys, "data", "inspect", tmp_path / "packed")["samples"] == 3


def test_a_conversion_and_an_index_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny(tmp_path / "model")
    converted = printed(capsys, "convert", model, tmp_path / "converted")
    assert converted["out"] == str(tmp_path / "converted")
    assert converted["image_size"] == 32
    assert converted["parameters"] > 1000
    pytest.importorskip("faiss")
    save_picture(tmp_path / "photos/a.png")
    made = printed(
        capsys,
        *("index", tmp_path / "photos", "--out", tmp_path / "i", "--checkpoint", model),
        *("--device", "cpu"),
    )
    assert made | {"frames": None} == {
        **{"out": str(tmp_path / "i"), "places": 1, "indexed": 1, "broken": 0, "removed": 0},
        **{"frames": None, "lost": 0},
    }
