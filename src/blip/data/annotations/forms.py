"""The annotation files of each task that needs more than captions, and how to recognise them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blip.data.annotations.nlvr import (
    holds_statements,
    list_stated,
    read_statements,
    read_statements_at,
)
from blip.data.annotations.visdial import (
    holds_dialogues,
    list_dialogues,
    read_dialogues,
    read_dialogues_at,
)
from blip.data.annotations.vqa import (
    holds_questions,
    list_asked,
    read_questions,
    read_questions_at,
)
from blip.data.dialogues import DIALOGUE
from blip.data.questions import QUESTIONS
from blip.data.sample import Sample
from blip.data.statements import STATEMENTS


@dataclass(frozen=True, slots=True)
class TaskForm:
    """How the annotation files of a task are recognised and read."""

    field: str
    """Under which name the samples hold the annotations in `meta`."""
    holds: Callable[[Path], bool]
    list: Callable[[Path, str | None], Sequence[object]]
    """What a file says of each image or pair, for a split; without the pictures."""
    read: Callable[[Path, Path | None, str | None, int, int | None], Iterator[Sample]]
    """The samples of a file: its pictures' place, a split, the first and the last of them."""
    read_at: Callable[
        [Path, Path | None, str | None, Collection[int]], Iterator[tuple[int, Sample]]
    ]
    """Some samples with their numbers, each as `read` gives it alone; the file is parsed once."""


FORMS = (
    TaskForm(DIALOGUE, holds_dialogues, list_dialogues, read_dialogues, read_dialogues_at),
    TaskForm(QUESTIONS, holds_questions, list_asked, read_questions, read_questions_at),
    TaskForm(STATEMENTS, holds_statements, list_stated, read_statements, read_statements_at),
)
TASK_FIELDS = tuple(form.field for form in FORMS)
"""A sample that holds one of these in `meta` needs no caption."""


def find_form(path: Path) -> TaskForm | None:
    """The form of a JSON file or a Parquet table that is made for a task; None for another file."""
    return next((form for form in FORMS if form.holds(path)), None)
