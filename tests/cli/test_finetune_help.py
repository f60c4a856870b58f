"""`blip finetune --help` lists the tasks, and `blip finetune TASK --help` is about one of them."""

import shlex

import pytest

from blip.cli.finetune import EXAMPLES_OF, KINDS
from blip.cli.main import main, parse
from blip.cli.recipe import read_config, recipe_names
from blip.config.strict import save

NAMES = [(name, task) for task in KINDS for name in task.names]


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["finetune", *words]) == 0
    return capsys.readouterr().out


def test_bare_help_lists_the_tasks(capsys):
    shown = help_of(capsys, "--help")
    for task in KINDS:
        assert f"  {', '.join(task.names)} " in shown
        assert task.objectives in shown
    assert "`blip finetune TASK --help` shows" in shown


@pytest.mark.parametrize(("name", "task"), NAMES, ids=[name for name, _ in NAMES])
def test_help_of_a_task_is_about_it_alone(name, task, capsys):
    shown = help_of(capsys, name, "--help")
    assert shown == help_of(capsys, "--out", "runs/a", name, "-h")
    assert shown.startswith(f"usage: blip finetune {task.name} ")
    assert task.objectives in shown
    assert all(f"  {recipe} " in shown for recipe in recipe_names(task.name))
    first = task.examples[:1].upper() + task.examples[1:]
    assert f"{first} in a batch" in shown
    others = [other for other in KINDS if other.name != task.name]
    assert not any(f"  blip finetune {other.name} " in shown for other in others)


def test_only_the_first_argument_names_the_task(capsys):
    shown = help_of(capsys, "vqa", "--help")
    assert help_of(capsys, "--out", "captioner", "vqa", "--help") == shown
    assert help_of(capsys, "vqa", "captioner", "--help") == shown
    assert help_of(capsys, "--out=captioner", "vqa", "-h", "--overwrite") == shown
    assert help_of(capsys, "--out", "captioner", "--help") == help_of(capsys, "--help")


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.name)
def test_examples_of_a_task_can_be_typed(task):
    for line in EXAMPLES_OF[task.name]:
        args = parse(["finetune", *shlex.split(line)])
        assert args.kind in task.names
        if not args.recipe.endswith(".json"):
            read_config(task.config, task.name, args.recipe, args.overrides)


def test_keys_of_a_task_say_what_a_batch_holds(capsys):
    shown = {name: help_of(capsys, name, "scenes", "--keys") for name in ("vqa", "nlvr", "visdial")}
    for name, noun in (("vqa", "Questions"), ("nlvr", "Statements"), ("visdial", "Questions of")):
        (line,) = [row for row in shown[name].splitlines() if row.startswith("  --data.batch_size")]
        assert f"  {noun} " in line
        assert "airs of an image" not in line
    assert "Shards, files or tables that ask questions" in shown["vqa"]


def test_a_task_alone_names_what_is_missing(capsys):
    assert main(["finetune", "vqa"]) == 2
    assert "RECIPE|config.json" in capsys.readouterr().err


def test_a_configuration_in_upper_case_is_read(tmp_path):
    task = KINDS[0]
    config = read_config(task.config, task.name, next(iter(recipe_names(task.name))), [])
    save(config, tmp_path / "CONFIG.JSON")
    assert read_config(task.config, task.name, str(tmp_path / "CONFIG.JSON"), []) == config
