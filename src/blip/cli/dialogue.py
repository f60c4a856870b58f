"""`blip ask` with a model for dialogues: each question is asked behind those before it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blip.config.strict import from_json, load_json
from blip.data.texts import read_lines
from blip.errors import UsageError

if TYPE_CHECKING:
    from blip.inference.dialogue_answerer import DialogueAnswerer, RankedAnswer
    from blip.inference.pixels import Picture


def read_history(path: Path) -> list[tuple[str, str]]:
    """The questions and answers in a file: a tab between both, one pair a line, or a JSON list.

    Raises UsageError for a file that is not there or holds something else.
    """
    try:
        is_json = path.suffix.lower() == ".json"
        return _read_pairs(path) if is_json else _split_lines(path)
    except UsageError as error:
        raise UsageError(f"--history: {error}") from error


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    content = load_json(path)
    try:
        return list(from_json(tuple[tuple[str, str], ...], content))
    except UsageError as error:
        raise UsageError(f'{path} is not a list of pairs, [["QUESTION", "ANSWER"]]') from error


def _split_lines(path: Path) -> list[tuple[str, str]]:
    rounds: list[tuple[str, str]] = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            question, tab, answer = line.partition("\t")
            if not tab:
                raise UsageError(f"{path}, line {number}: no tab between question and answer")
            rounds.append((question.strip(), answer.strip()))
    return rounds


def discuss(
    answerer: "DialogueAnswerer",
    image: "Picture",
    caption: str,
    history: Sequence[tuple[str, str]],
    questions: Sequence[str],
    candidates: Sequence[str] | None,
) -> "list[list[RankedAnswer] | str]":
    """For each question the candidates, the likeliest first, or the answer that is written.

    The questions make one dialogue: each is read with those before it and the answers they got.
    """
    from blip.data.dialogues import Turn

    rounds, found = list(history), list["list[RankedAnswer] | str"]()
    for question in questions:
        turn = Turn(caption, tuple(rounds), question)
        if candidates is None:
            (written,) = answerer.answer([image], [[turn]])[0]
            found.append(written)
            rounds.append((question, written))
        else:
            (ranked,) = answerer.rank([image], [[turn]], [[candidates]])[0]
            found.append(ranked)
            rounds.append((question, ranked[0].answer))
    return found
