"""The tasks that are trained on scenes: what is drawn for each, and what measures it."""

from dataclasses import dataclass

from experiments.guesses import Guess, guess_answers, guess_labels, guess_options


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task that is trained on scenes."""

    name: str
    """Of `blip finetune` and of `blip evaluate --task`; its recipe is `scenes`."""
    draw: tuple[str, ...]
    """Options of `blip data scenes`."""
    figures: tuple[str, ...]
    """Keys of what is measured, the most important one first."""
    guess: Guess


TASKS = (
    Task(name="vqa", draw=("--questions", "6"), figures=("accuracy",), guess=guess_answers),
    Task(name="nlvr", draw=("--statements", "6"), figures=("accuracy",), guess=guess_labels),
    Task(
        name="visdial",
        draw=("--dialogues", "4"),
        figures=("mrr", "r1", "r5", "mean_rank"),
        guess=guess_options,
    ),
)
"""Those that `python -m experiments.scenes` knows; each is an entry."""
