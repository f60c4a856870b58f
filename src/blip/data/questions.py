"""Questions about an image: how samples hold them, and how one is cleaned before it is read."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from blip.data.texts import first_given, is_missing, without_point
from blip.files import is_utf8

QUESTIONS = "questions"
"""Where they stand in `meta`, and so in KEY.json."""
IDENTIFIERS = ("question_id", "qa_id")
TEXTS = ("question", "text")
ANSWERS = ("answers", "answer", "direct_answers")
BROKEN_QUESTION = "broken_question"
_DROPPED = str.maketrans("", "", '.!"()*#:;~')
MAX_WORDS = 50


def clean_question(text: str, max_words: int = MAX_WORDS) -> str:
    """Lower case, without `. ! " ( ) * # : ; ~`, single blanks, at most `max_words` words.

    This is what the released model for VQA was trained on. Unlike a caption's, these marks leave no
    blank in their place: "u.s." becomes "us". The question mark stays; the result may be empty.
    """
    return " ".join(text.lower().translate(_DROPPED).split()[:max_words])


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question about an image and what its annotators answered."""

    question_id: int | str
    text: str
    answers: tuple[str, ...] = ()
    """One for each annotator; none where they are withheld, as in a test split."""
    answer_type: str = ""
    question_type: str = ""
    weight: float = 1.0
    """What all its answers weigh together in training."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the list `QUESTIONS` of a sample's `meta`, and so in KEY.json."""
        return {**asdict(self), "answers": list(self.answers)}

    def weigh_answers(self) -> dict[str, float]:
        """The different answers, each with its share of the annotators, times `weight`."""
        share = self.weight / max(1, len(self.answers))
        return {answer: share * count for answer, count in Counter(self.answers).items()}


def questions_of(meta: dict[str, Any]) -> tuple[list[AskedQuestion], str | None]:
    """The questions in the `meta` of a sample, and what is wrong with the first broken one.

    An answer may be one text or a list, as `answer` or `answers`; a question needs no identifier.
    """
    found: list[AskedQuestion] = []
    fault: str | None = None
    entries = meta.get(QUESTIONS)
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict):
            fault = fault or f"{BROKEN_QUESTION}: number {number} is no JSON object"
        elif (question := read_question(entry, number)) is not None:
            found.append(question)
        elif fault is None:
            fault = f"{BROKEN_QUESTION}: number {number} has {find_question_fault(entry)}"
    return found, fault


def find_question_id(entry: dict[str, Any], names: Sequence[str] = IDENTIFIERS) -> int | str | None:
    """The first identifier of an entry; None where all are null, NaN or blank.

    A whole number that pandas made a float (`17.0`) is an integer again.
    """
    given = {name: entry.get(name) for name in names}
    sound = {name: own for name, own in given.items() if not isinstance(own, str) or own.strip()}
    own = without_point(first_given(sound, names))
    return own if own is None or isinstance(own, int | str) else str(own)


def find_question_fault(entry: dict[str, Any]) -> str | None:
    """What makes an entry no question, such as `no text as its question`; None for a sound one."""
    text = first_given(entry, TEXTS)
    if list_answers(entry) is None:
        return "no text as its answers"
    if not isinstance(text, str) or not is_utf8(text):
        return "no text as its question"
    if _read_weight(entry) is None:
        return f"{entry['weight']!r:.40} as its weight, which is a number from 0"
    return None


def read_question(entry: dict[str, Any], number: int) -> AskedQuestion | None:
    """A question of an annotation file or of KEY.json; None where `find_question_fault` finds one.

    `number` identifies a question without an identifier.
    """
    text, answers, weight = first_given(entry, TEXTS), list_answers(entry), _read_weight(entry)
    if not isinstance(text, str) or not is_utf8(text) or answers is None or weight is None:
        return None
    question_id = find_question_id(entry)
    if question_id is None:
        question_id = str(number)
    types = (entry.get(name) for name in ("answer_type", "question_type"))
    answer_type, question_type = (kind if isinstance(kind, str) else "" for kind in types)
    return AskedQuestion(question_id, text, tuple(answers), answer_type, question_type, weight)


def _read_weight(entry: dict[str, Any]) -> float | None:
    """The weight of an entry, 1 without any; None for infinity, less than 0, and no number."""
    given = first_given(entry, ("weight",))
    if given is None or (isinstance(given, str) and not given.strip()):
        return 1.0
    try:
        weight = float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return weight if math.isfinite(weight) and weight >= 0 else None


def list_answers(entry: dict[str, Any]) -> list[str] | None:
    """The annotators' answers in an entry; None where something else than texts stands there.

    Known are `answers` and `answer` (a text, a list of texts, or a list of `{"answer": ...}`), and
    A-OKVQA's `direct_answers`. Null and NaN are no answers.
    """
    given = first_given(entry, ANSWERS)
    values = given if isinstance(given, list) else [given]
    texts = [value.get("answer", value) if isinstance(value, dict) else value for value in values]
    # DAQUAR's counts may stand there as numbers.
    texts = [
        str(without_point(text)) if type(text) in (int, float) else text
        for text in texts
        if not is_missing(text)
    ]
    if not all(isinstance(text, str) and is_utf8(text) for text in texts):
        return None
    return [text.strip() for text in texts if text.strip()]
