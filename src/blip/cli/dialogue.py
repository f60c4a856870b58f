"""The questions and answers before those of `blip ask`, for a model for dialogues."""

from pathlib import Path

from blip.config.strict import from_json, load_json
from blip.data.texts import read_lines
from blip.errors import UsageError


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
