"""VQA on DAQUAR and statements on NLVR from a small ViT and BERT, beside blind baselines.

    python -m experiments.real_tasks daquar|nlvr1 --vision_weights FILE --text_weights FILE

Data are read from the folder that BLIP_SHARED names (default `../shared`). Does what is not done
yet: a training that was stopped is resumed. At the end it prints the table, and writes it into
README.md and, with commit and machine, into results.json beside this file; a trial with another
--steps_scale is printed alone.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blip.config import strict
from blip.config.strict import load_json
from blip.data.sample import Sample
from blip.errors import BlipError, UsageError, plain
from blip.reports.origin import origin
from blip.tasks.config import NlvrConfig, VqaConfig
from experiments.blind import read_all
from experiments.guesses import Guess, guess_answers, guess_labels, predict_answers, predict_labels
from experiments.real_tasks import settings
from experiments.real_tasks.data import ANSWERS, write_daquar, write_nlvr1
from experiments.real_tasks.scored import (
    Groups,
    find_differences,
    score_answers,
    score_labels,
)
from experiments.real_tasks.start import write_start
from experiments.results import write_results
from experiments.withheld import NAMES, TESTED, Trial, evaluation_of, run_trial

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class RealTask:
    """A data set and what is learnt from it."""

    task: str
    """Of `blip finetune` and of `blip evaluate --task`."""
    config: Callable[[], VqaConfig | NlvrConfig]
    write: Callable[[Path, Path], None]
    """Writes shards of `training` and `test` from the folder of the data set."""
    guess: Guess
    predict: Callable[[Sequence[Sample], Sequence[Sample]], dict[str, list[Any]]]
    """What `guess` has guessed."""
    given: Callable[[dict[str, Any]], list[Any]]
    """The model's answers, from what `blip evaluate` wrote."""
    score: Callable[[Sequence[Sample], list[Any]], Groups]
    options: Callable[[Path], tuple[str, ...]] = lambda _: ()
    """Of `blip evaluate`, by the folder of the shards."""


TASKS = {
    "daquar": RealTask(
        task="vqa",
        config=settings.daquar,
        write=write_daquar,
        guess=guess_answers,
        predict=predict_answers,
        given=lambda found: [row["answer"] for row in found["answers"]],
        score=score_answers,
        options=lambda folder: ("--answers", str(folder / ANSWERS), "--candidates", "32"),
    ),
    "nlvr1": RealTask(
        task="nlvr",
        config=settings.nlvr1,
        write=write_nlvr1,
        guess=guess_labels,
        predict=predict_labels,
        given=lambda found: [row["prediction"] == "True" for row in found["predictions"]],
        score=score_labels,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, print, write; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m experiments.real_tasks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("name", choices=list(TASKS))
    parser.add_argument("--vision_weights", required=True, metavar="FILE", help="ViT-S/14, timm")
    parser.add_argument(
        "--text_weights", type=Path, required=True, metavar="FILE", help="BERT, vocab.txt beside"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/real_tasks"), metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--steps_scale", type=float, default=1.0, metavar="X", help="for a trial")
    parser.add_argument("--results", type=Path, default=HERE, metavar="DIR", help="(beside this)")
    args = parser.parse_args(words)
    made = origin(HERE)
    try:
        found = run(args)
    except BlipError as error:
        print(f"real_tasks: error: {plain(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    table = "\n".join(lines(found))
    print(table)
    if args.steps_scale == 1.0:
        command = f"python -m experiments.real_tasks {args.name} --seed {args.seed}"
        write_results(args.results, args.name, {**found, "command": command, **made}, table)
    return 0


def run(args: argparse.Namespace) -> dict[str, Any]:
    """What was measured of a data set: figures, intervals, seconds, and how much there was."""
    task, folder = TASKS[args.name], args.out / args.name
    shared = Path(os.environ.get("BLIP_SHARED", "../shared"))
    task.write(shared / args.name, folder / "data")
    write_start(
        args.vision_weights, args.text_weights, settings.MODEL, args.out / "start", args.seed
    )
    config = task.config()
    steps = max(2, math.ceil(args.steps_scale * config.train.steps))
    config = replace(config, train=replace(config.train, steps=steps))
    strict.save(config, folder / "recipe.json")
    trial = Trial(
        task=task.task,
        recipe=str(folder / "recipe.json"),
        init=args.out / "start",
        training=folder / "data/training",
        test=folder / "data/test",
        folder=folder,
        seed=args.seed,
        measuring=task.options(folder / "data"),
    )
    measured = run_trial(trial, task.guess)
    training, test = read_all(trial.training), read_all(trial.test)
    given = {
        name: task.given(load_json(evaluation_of(trial, name) / "evaluation.json"))
        for name in TESTED
    }
    given |= task.predict(training, test)
    scores = {name: task.score(test, answers) for name, answers in given.items()}
    groups = scores["images"]
    return {
        **measured,
        "accuracy": find_differences(scores, "images"),
        "steps": steps,
        "batch_size": config.data.batch_size,
        "seed": args.seed,
        "tested": sum(len(group) for group in groups),
        "groups": len(groups),
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """A Markdown table: accuracy, and by how much the model that sees is better."""
    seconds = found["training_seconds"]
    minutes = ", ".join(f"{name} {value / 60:.0f}" for name, value in seconds.items())
    yield (
        f"{found['steps']} steps of {found['batch_size']}; minutes of training: {minutes}. Tested "
        f"with {found['tested']}, in {found['groups']} groups; one seed."
    )
    yield ""
    yield "| | accuracy, % | images less this |"
    yield "| --- | --- | --- |"
    for name, text in NAMES.items():
        if name in found["accuracy"]:
            difference = found["accuracy"].get(f"images less {name}")
            last = "" if difference is None else _cell(difference, "+.1f")
            yield f"| {text} | {_cell(found['accuracy'][name], '.1f')} | {last} |"


def _cell(interval: list[float], form: str) -> str:
    value, low, high = (format(number, form) for number in interval)
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
