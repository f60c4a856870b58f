"""Arguments of a call about dialogues, checked before any work is done."""

from collections.abc import Iterable, Sequence
from typing import Any

from blip.data.dialogues import Turn
from blip.data.questions import clean_question
from blip.errors import ArgumentError
from blip.inference.inputs import (
    check_pictures,
    check_text,
    check_texts,
    list_for_each,
    list_items,
    refuse_videos,
)
from blip.inference.pixels import Picture

PAIRS = "history must be pairs of a question and its answer"


def check_turns(
    images: Iterable[Picture], turns: Iterable[Iterable[Turn]]
) -> tuple[Sequence[Picture], list[Sequence[Turn]]]:
    """Pictures, and turns about each; raises ArgumentError, which names what is wrong first."""
    pictures = check_pictures(images)
    refuse_videos(pictures, [f"picture {number}" for number in range(1, len(pictures) + 1)])
    rows = list_for_each("turns", turns, len(pictures))
    for number, row in enumerate(rows, 1):
        for turn in row:
            _check_turn(f"turns of picture {number}", turn)
    return pictures, rows


def check_candidates(
    candidates: Iterable[Iterable[Iterable[str]]], turns: Sequence[Sequence[Turn]]
) -> list[list[list[str]]]:
    """Candidates for each turn; raises ArgumentError as `check_turns` does."""
    listed = [
        [check_texts("candidates", answers) for answers in of_picture]
        for of_picture in list_for_each("candidates", candidates, len(turns))
    ]
    for number, (row, answers) in enumerate(zip(turns, listed, strict=True), 1):
        if len(answers) != len(row):
            raise ArgumentError(
                f"candidates of picture {number}: {len(row)} turns need as many lists, "
                f"got {len(answers)}"
            )
        if not all(answers):
            raise ArgumentError("an answer must be chosen from candidates, got none")
    return listed


def _check_turn(name: str, turn: Any) -> None:
    if not isinstance(turn, Turn):
        raise ArgumentError(f"{name} must be blip.Turn, got {turn!r} ({type(turn).__name__})")
    _check_text("caption", turn.caption)
    _check_question("question", turn.question)
    if isinstance(turn.history, str):
        raise ArgumentError(f"{PAIRS}, got {turn.history!r}")
    for before in list_items("history", turn.history):
        if not isinstance(before, Sequence) or isinstance(before, str) or len(before) != 2:
            raise ArgumentError(f"{PAIRS}, got {before!r}")
        _check_question("a question of the history", before[0])
        _check_text("an answer of the history", before[1])


def _check_question(name: str, text: Any) -> None:
    _check_text(name, text)
    if not clean_question(text):
        raise ArgumentError(f"{name} is {text!r}; it has no words")


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ArgumentError(f"{name} must be a text, got {text!r} ({type(text).__name__})")
    check_text(name, text)
