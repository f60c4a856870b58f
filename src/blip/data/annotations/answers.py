"""A file of candidate answers, as those that BLIP ranks for VQA v2."""

from pathlib import Path

from blip.config.strict import from_json, load_json
from blip.data.texts import read_lines
from blip.errors import UsageError


def read_candidates(path: Path) -> list[str]:
    """The answers in a file: one a line, blank ones left out, or a JSON list in a `.json` file.

    Raises UsageError for a file that is not there, holds something else, or no answer.
    """
    if path.suffix == ".json":
        content = load_json(path)
        if not isinstance(content, list):
            raise UsageError(f"{path} holds no JSON list of answers")
        answers = list(from_json(tuple[str, ...], content, where=str(path)))
    else:
        answers = read_lines(path)
    answers = [text.strip() for text in answers if text.strip()]
    if not answers:
        raise UsageError(f"{path} holds no answers")
    return answers
