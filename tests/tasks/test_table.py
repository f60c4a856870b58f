"""The table of tasks is the only list: commands, help, jobs, recipes and docs follow it."""

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from blip import jobs
from blip.cli import evaluate, finetune
from blip.cli.main import main, make_parser
from blip.cli.recipe import recipe_names
from blip.data.faults import BadSamples, Fault
from blip.evaluation.choose import Evaluation
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.subject import Subject
from blip.model.config import ModelConfig
from blip.outputs import EVALUATION, Kind, training_kind
from blip.tasks import table
from blip.tasks.config import RunOptions
from blip.tasks.table import EVALUATIONS, TASKS, TrainingTask, find_task
from blip.train.config import TrainConfig
from tests.support.saved_models import save_tiny

ARCHITECTURE = Path(__file__).parents[2] / "docs/architecture.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class RiddleConfig:
    """The configuration of a task that blip does not have."""

    kind: ClassVar[Kind] = training_kind("riddles", "blip finetune riddles")
    inputs: ClassVar[tuple[str, ...]] = ()
    train: TrainConfig = TrainConfig(steps=1, device="cpu")
    difficulty: int = 1


@pytest.fixture
def read_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ModuleType], object]]:
    """Load a command anew, which read the table when it was imported; undone at the end."""
    modules = []

    def read(module: ModuleType) -> None:
        modules.append(importlib.reload(module))

    yield read
    monkeypatch.undo()
    for module in modules:
        importlib.reload(module)


def add_module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> ModuleType:
    """A module of this name that can be imported for as long as a test runs."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def trained(
    monkeypatch: pytest.MonkeyPatch, read_again: Callable[[ModuleType], object]
) -> list[tuple[Any, Path]]:
    """What was trained, for a table with another task and a module with its recipe."""
    calls = []

    def train(config: RiddleConfig, out: Path, options: RunOptions | None) -> Path:
        calls.append((config, out))
        return out

    task = TrainingTask(
        name="riddles",
        verb="finetune",
        objectives="LM: asks riddles",
        examples="riddles",
        config=RiddleConfig,
        module="blip.tasks.riddles",
        evaluations=(),
    )
    add_module(monkeypatch, task.module, train=train)
    recipes = add_module(monkeypatch, "blip.recipes.riddles", RiddleConfig=RiddleConfig)
    exec('def easy():\n    """A riddle for children."""\n    return RiddleConfig()', vars(recipes))
    monkeypatch.setattr(table, "TASKS", (*TASKS, task))
    read_again(finetune)
    return calls


def test_a_new_task_is_trained_by_its_command_and_as_a_job(
    trained: list[tuple[Any, Path]], tmp_path: Path
) -> None:
    given = ["--out", str(tmp_path / "run"), "--difficulty", "3"]
    assert main(["finetune", "riddles", "easy", *given]) == 0
    jobs.Job(RiddleConfig(), tmp_path / "job")()
    assert trained == [
        (RiddleConfig(difficulty=3), tmp_path / "run"),
        (RiddleConfig(), tmp_path / "job"),
    ]


def test_a_new_task_is_in_help_and_list(
    trained: list[tuple[Any, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "riddles" in make_parser("finetune").format_help()
    assert main(["finetune", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "riddles:\n  easy              A riddle for children.\n" in listed
    assert main(["finetune", "riddles", "hard"]) == 2
    assert "unknown recipe 'hard'; allowed: easy" in capsys.readouterr().err
    assert main(["finetune", "riddles", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "A riddle for children." in shown
    assert "blip finetune riddles RECIPE --init runs/base" in shown
    assert trained == []


def test_a_new_evaluation_reads_its_own_data_and_is_offered_and_made(
    monkeypatch: pytest.MonkeyPatch,
    read_again: Callable[[ModuleType], object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Pages:
        bad = BadSamples()

        def __init__(self, config: EvaluateConfig, model: ModelConfig) -> None:
            self.data, self.layers = config.data, model.text.depth
            self.bad.add([Fault("book", "3", "torn")])

        def counts(self) -> dict[str, int]:
            return {"pages": 12, "lines": 480}

    def measure(subject: Subject[Pages]) -> dict[str, Any]:
        assert subject.data.data == subject.config.data
        return {"letters": {"mean": float(subject.data.counts()["pages"])}}

    letters = Evaluation(
        name="letters",
        figures="letters of a text",
        architecture="med",
        mode="causal",
        module="blip.evaluation.letters",
        reader="blip.evaluation.letters",
        counted=("pages", "lines"),
    )
    add_module(monkeypatch, letters.module, read=Pages, measure=measure)
    monkeypatch.setattr(table, "EVALUATIONS", (*EVALUATIONS, letters))
    read_again(evaluate)
    given = ["evaluate", str(save_tiny(tmp_path / "model")), "--data", "library"]
    given += ["--task", "letters", "--out", str(tmp_path / "out")]
    assert main(given) == 0
    written = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    assert (written["pages"], written["left_out"]) == (12, {"torn": 1})
    captured = capsys.readouterr()
    assert captured.out.split() == ["mean", "12.00"]
    assert "12 pages with 480 lines" in captured.err
    assert written["not_measured"]["retrieval"] == "only letters was chosen"
    assert "not measured" not in captured.err


def test_every_task_has_recipes_a_folder_and_evaluations_of_its_own() -> None:
    for task in TASKS:
        module = importlib.import_module(f"blip.recipes.{task.name}")
        names = recipe_names(task.name)
        assert names
        assert all(type(getattr(module, name)()) is task.config for name in names)
        assert all(find_task(getattr(module, name)()) is task for name in names)
        assert jobs.KINDS[task.config] is task.config.kind
        words = [task.verb] if task.verb == task.name else [task.verb, task.name]
        assert task.config.kind.command == " ".join(["blip", *words])
        assert set(task.evaluations) <= {evaluation.name for evaluation in EVALUATIONS}
        assert task.evaluations
    names = [name for task in TASKS for name in task.names]
    assert len(names) == len(set(names))
    assert len({task.name for task in TASKS}) == len({task.config for task in TASKS}) == len(TASKS)


def test_every_module_of_the_table_has_the_functions_that_are_called() -> None:
    for task in TASKS:
        called = inspect.signature(importlib.import_module(task.module).train).parameters
        assert list(called) == ["config", "out", "options"]
        assert called["config"].annotation is task.config
    for evaluation in EVALUATIONS:
        module = importlib.import_module(evaluation.module)
        assert list(inspect.signature(module.measure).parameters) == ["subject"]
        read = inspect.signature(importlib.import_module(evaluation.reader).read).parameters
        assert [one.annotation for one in read.values()] == [EvaluateConfig, ModelConfig]
        if evaluation.result_file is not None:
            assert len(inspect.signature(module.rows).parameters) == 2


def test_an_evaluation_replaces_the_result_files_of_every_other() -> None:
    written = {evaluation.result_file for evaluation in EVALUATIONS if evaluation.result_file}
    assert written <= set(EVALUATION.files)


def test_the_docs_have_the_same_table() -> None:
    rows = [
        f"| {', '.join(task.names)} | `{task.config.kind.command} RECIPE` | {task.objectives} "
        f"| {', '.join(task.evaluations)} |"
        for task in TASKS
    ]
    rows += [f"| {evaluation.name} | {evaluation.figures} |" for evaluation in EVALUATIONS]
    section = ARCHITECTURE.read_text(encoding="utf-8").split("## Tasks\n")[1].split("\n## ")[0]
    written = [line for line in section.splitlines() if line.startswith("| ")]
    heads = [line for line in written if line.startswith(("| Task", "| Evaluation", "| ---"))]
    assert len(heads) == 4
    assert [line for line in written if line not in heads] == rows


def test_the_table_and_the_help_that_reads_it_load_no_torch() -> None:
    code = (
        "import sys, blip.tasks.table\n"
        "from blip.cli.main import make_parser\n"
        "make_parser('finetune').format_help(), make_parser('evaluate').format_help()\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
