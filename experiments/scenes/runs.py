"""Trains a task on scenes with a seed, with pictures and without, and measures what each knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.files import write_json
from experiments.blind import read_all, write_grey, write_shuffled
from experiments.blip_command import blip, measure, training_seconds
from experiments.scenes.tasks import Figures, Task

TRAINED = ("images", "text_only")
"""Trainings: with the pictures, and with one grey picture in the place of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all runs have in common."""

    demo: Path
    """Folder of a finished `blip demo`, whose pre-trained MED every training starts from."""
    out: Path
    changes: tuple[str, ...] = ()
    """Overrides of the recipes, for a try."""

    @property
    def init(self) -> Path:
        """The MED that the demo pre-trained, before it cleaned its data."""
        return self.demo / "round-1" / "pretrain"


def run(task: Task, seed: int, settings: Settings) -> dict[str, Any]:
    """What was measured with a seed; finished steps are not repeated, a cut training is resumed.

    The seed is that of the scenes, of their order and of newly initialised weights.
    """
    folder = settings.out / task.name / f"seed{seed}"
    finished = folder / "figures.json"
    if finished.is_file():
        return load_json(finished)
    scenes = folder / "scenes"
    _draw(task, seed, settings, scenes)
    runs = {name: folder / name for name in TRAINED}
    for name, out in runs.items():
        data = scenes / "human" if name == "images" else folder / "grey" / "human"
        _train(task, seed, settings, data, out)
    tests = {"": scenes / "test", "grey": folder / "grey/test", "shuffled": folder / "shuffled"}
    measured = {
        "images": _figures(task, runs["images"], tests[""], folder / "evaluation/images"),
        "text_only": _figures(task, runs["text_only"], tests["grey"], folder / "evaluation/text"),
        **{
            f"images_withheld_{how}": _figures(
                task, runs["images"], tests[how], folder / "evaluation" / how
            )
            for how in ("grey", "shuffled")
        },
        **task.guess(read_all(scenes / "human"), read_all(scenes / "test")),
    }
    seconds = {name: training_seconds(out) for name, out in runs.items()}
    result = {"seed": seed, "figures": measured, "training_seconds": seconds}
    write_json(finished, result)
    return result


def _draw(task: Task, seed: int, settings: Settings, scenes: Path) -> None:
    """Scenes as the demo's, with what the task asks about them; and copies that show nothing."""
    if not (scenes / "test").is_dir():
        like = ("--like", settings.demo / "data", "--web", "1", "--seed", str(seed))
        blip("data", "scenes", scenes, *like, *task.draw)
    for split in ("human", "test"):
        write_grey(scenes / split, scenes.parent / "grey" / split)
    write_shuffled(scenes / "test", scenes.parent / "shuffled", seed)


def _train(task: Task, seed: int, settings: Settings, data: Path, out: Path) -> None:
    if (out / "checkpoint").is_dir():
        return
    seeds = ("--train.seed", str(seed), "--data.seed", str(seed))
    places = ("--init", settings.init, "--data.sources.0.shards", data, "--out", out)
    blip("finetune", task.name, "scenes", *places, *seeds, *settings.changes)


def _figures(task: Task, checkpoint: Path, data: Path, out: Path) -> Figures:
    return measure(checkpoint, data, task.name, out)[task.name]
