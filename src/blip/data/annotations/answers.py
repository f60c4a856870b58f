"""A file of candidate answers, as those that BLIP ranks for VQA v2."""

from pathlib import Path
from typing import Any

from blip.config.strict import from_json, load_json
from blip.data.texts import read_lines
from blip.errors import UsageError
from blip.files import is_json_lines, parse_json


def read_candidates(path: Path) -> list[str]:
    """The answers in a file: one a line, blank ones left out, or a JSON list in a `.json` file.

    A line of a `.jsonl` file is a JSON text. Raises UsageError for a file that is not there, holds
    something else, or no answer.
    """
    if path.suffix.lower() == ".json":
        content = load_json(path)
        if not isinstance(content, list):
            raise UsageError(f"{path} holds no JSON list of answers")
        answers = list(from_json(tuple[str, ...], content, where=str(path)))
    elif is_json_lines(path):
        lines = enumerate(read_lines(path), 1)
        answers = [_read_text(line, f"{path}, line {number}") for number, line in lines]
    else:
        answers = read_lines(path)
    answers = [text.strip() for text in answers if text.strip()]
    if not answers:
        raise UsageError(f"{path} holds no answers")
    return answers


def _read_text(line: str, where: str) -> str:
    """The JSON text in a line, which may be blank."""
    try:
        answer: Any = parse_json(line) if line.strip() else ""
    except ValueError:
        answer = None
    if not isinstance(answer, str):
        raise UsageError(f'{where} is no JSON text; allowed: one answer a line, such as "yes"')
    return answer
