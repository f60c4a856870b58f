"""Configurations of a run: what differs, what may, and which held from which step on."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from blip.config.history import (
    describe_changes,
    find_changes,
    is_earlier_run,
    load_config,
    load_history,
    save_with_history,
    without,
)
from blip.config.strict import save, to_json
from blip.errors import UsageError
from blip.outputs import Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    lr: float = 0.1
    seed: int = 0
    betas: tuple[float, ...] = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    parts: tuple[Part, ...] = (Part(), Part())
    one: Part = Part()
    name: str | None = None


def held(path: Path) -> list[tuple[int, Any]]:
    return [(entry["from_step"], entry["config"]["one"]["lr"]) for entry in load_history(path)]


def with_lr(lr: float) -> Run:
    return Run(one=Part(lr=lr))


def test_changes_are_named_by_their_keys() -> None:
    now = Run(parts=(Part(), Part(seed=3)), one=Part(betas=(0.9,)), name="x")
    assert find_changes(Run(), now) == {
        "parts.1.seed": (0, 3),
        "one.betas": ([0.9, 0.95], [0.9]),
        "name": (None, "x"),
    }
    assert find_changes(Run(), Run()) == {}
    assert find_changes(to_json(Run()), now, free=("parts", "one.betas", "name")) == {}
    assert "name" in find_changes(Run(), now, free=("nam", "one"))
    fewer = replace(now, parts=(Part(),))
    assert find_changes(now, fewer)["parts.1.seed"] == (3, None)


def test_changes_are_described_in_a_line() -> None:
    message = describe_changes(find_changes(Run(), with_lr(1e-5)))
    assert message == "one.lr 1e-05, was 0.1"
    many = {f"key{n}": (None, "a\nb" * 100) for n in range(9)}
    assert "5 more" in describe_changes(many)
    assert "\n" not in describe_changes(many)
    assert len(describe_changes(many)) < 400


def test_every_configuration_keeps_the_step_from_which_it_held(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save(with_lr(1.0), path)
    save_with_history(with_lr(1.0), path, 5)
    assert json.loads(path.read_text()) == to_json(with_lr(1.0))
    save_with_history(with_lr(2.0), path, 10)
    save_with_history(with_lr(2.0), path, 15)
    save_with_history(with_lr(3.0), path, 20)
    assert held(path) == [(0, 1.0), (10, 2.0), (20, 3.0)]
    assert load_config(Run, path) == with_lr(3.0)
    # A damaged checkpoint was passed over: the run resumes from further back.
    save_with_history(with_lr(3.0), path, 10)
    assert held(path) == [(0, 1.0), (10, 3.0)]
    save_with_history(with_lr(4.0), path, 0)
    assert json.loads(path.read_text()) == to_json(with_lr(4.0))


def test_what_is_free_to_change_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save(Run(), path)
    save_with_history(Run(name="x"), path, 10, free=("name",))
    assert json.loads(path.read_text()) == to_json(Run(name="x"))
    assert without(Run(name="x"), ("name", "one.lr", "no.such.key")) == {
        "parts": to_json(Run())["parts"],
        "one": {"seed": 0, "betas": [0.9, 0.95]},
    }


@pytest.mark.parametrize("content", ["", "[]", '{"history": 3}', '{"history": [1]}', "{"])
def test_a_foreign_history_is_ignored(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert len(load_history(path)) <= 1
    save_with_history(Run(), path, 0)
    assert load_config(Run, path) == Run()


def test_a_run_of_an_earlier_version_is_known(tmp_path: Path) -> None:
    kind = Kind("run", "blip run", ("config.json", "result/*"))
    assert not is_earlier_run(Run, tmp_path, kind)
    save(Run(), tmp_path / "config.json")
    assert is_earlier_run(Run, tmp_path, kind), "a configuration that a person put there"
    (tmp_path / "result").mkdir()
    assert not is_earlier_run(Run, tmp_path, kind)
    (tmp_path / ".lock").touch()
    assert is_earlier_run(Run, tmp_path, kind)
    (tmp_path / "config.json").write_text('{"other": 1}')
    assert not is_earlier_run(Run, tmp_path, kind)
    with pytest.raises(UsageError, match=r"^\S+config\.json: unknown key `other`; allowed: "):
        load_config(Run, tmp_path / "config.json")


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_what_holds_no_configuration_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"^\S+config\.json must hold a JSON object$"):
        load_config(Run, tmp_path / "config.json")
