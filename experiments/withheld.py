"""Trains with pictures and without, and measures what each knows; what is done is not repeated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.blind import read_all, write_grey, write_shuffled
from experiments.blip_command import blip, measure, training_seconds
from experiments.guesses import Guess

TRAINED = ("images", "text_only")
"""Trainings: with the pictures, and with one grey picture in the place of each."""
TESTED = {
    "images": ("images", "test"),
    "text_only": ("text_only", "grey/test"),
    "images_withheld_grey": ("images", "grey/test"),
    "images_withheld_shuffled": ("images", "shuffled"),
}
"""Conditions: which training, and which pictures it is shown in the test."""
NAMES = {
    "images": "trained with images",
    "text_only": "text only, trained likewise",
    "most_frequent": "most frequent answer",
    "most_frequent_of_type": "most frequent answer to that type of question",
    "images_withheld_grey": "trained with images, shown grey ones",
    "images_withheld_shuffled": "trained with images, shown another sample's",
}
"""Conditions in words."""
BASELINES = ("text_only", "most_frequent", "most_frequent_of_type")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A training of a task, its test, and the folder for all that becomes of it."""

    task: str
    """Of `blip finetune` and of `blip evaluate --task`."""
    recipe: str
    """The name of a recipe, or a config.json."""
    init: Path
    training: Path
    test: Path
    folder: Path
    seed: int = 0
    changes: tuple[str, ...] = ()
    """Overrides of the recipe."""
    measuring: tuple[str, ...] = ()
    """Further options of `blip evaluate`."""


def run_trial(trial: Trial, guess: Guess) -> dict[str, Any]:
    """`figures` of every condition by its name, and `training_seconds` of both trainings.

    A training that was stopped is resumed.
    """
    folder, places = trial.folder, {"training": trial.training, "test": trial.test}
    for name, place in places.items():
        write_grey(place, folder / "grey" / name)
    write_shuffled(trial.test, folder / "shuffled", trial.seed)
    _train(trial, trial.training, folder / "images")
    _train(trial, folder / "grey/training", folder / "text_only")
    figures = {}
    for condition, (run, shown) in TESTED.items():
        data = trial.test if shown == "test" else folder / shown
        out = evaluation_of(trial, condition)
        found = measure(folder / run, data, trial.task, out, trial.measuring)
        figures[condition] = found[trial.task]
    figures |= guess(read_all(trial.training), read_all(trial.test))
    seconds = {name: training_seconds(folder / name) for name in TRAINED}
    return {"figures": figures, "training_seconds": seconds}


def evaluation_of(trial: Trial, condition: str) -> Path:
    """The folder of what was measured in a condition."""
    return trial.folder / "evaluation" / condition


def _train(trial: Trial, data: Path, out: Path) -> None:
    if (out / "checkpoint").is_dir():
        return
    seeds = ("--train.seed", str(trial.seed), "--data.seed", str(trial.seed))
    places = ("--init", trial.init, "--data.sources.0.shards", data, "--out", out)
    blip("finetune", trial.task, trial.recipe, *places, *seeds, *trial.changes)
    if not (out / "checkpoint").is_dir():
        # A training that was asked to stop by SIGTERM ends with status 0.
        raise SystemExit(0)
