"""A task on scenes with a seed: what is drawn, and what is measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.files import write_json
from experiments.blip_command import blip
from experiments.scenes.tasks import Task
from experiments.withheld import Trial, run_trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all runs have in common."""

    demo: Path
    """Folder of a finished `blip demo`, whose pre-trained MED every training starts from."""
    out: Path
    changes: tuple[str, ...] = ()
    """Overrides of the recipes, for a try."""


def run(task: Task, seed: int, settings: Settings) -> dict[str, Any]:
    """What was measured with a seed; finished steps are not repeated, a cut training is resumed.

    The seed is that of the scenes, of their order and of newly initialised weights.
    """
    folder = settings.out / task.name / f"seed{seed}"
    finished = folder / "figures.json"
    if finished.is_file():
        return load_json(finished)
    scenes = folder / "scenes"
    if not (scenes / "test").is_dir():
        like = ("--like", settings.demo / "data", "--web", "1", "--seed", str(seed))
        blip("data", "scenes", scenes, *like, *task.draw)
    trial = Trial(
        task=task.name,
        recipe="scenes",
        # Before the demo cleaned its data.
        init=settings.demo / "round-1" / "pretrain",
        training=scenes / "human",
        test=scenes / "test",
        folder=folder,
        seed=seed,
        changes=settings.changes,
    )
    result = {"seed": seed, **run_trial(trial, task.guess)}
    write_json(finished, result)
    return result
