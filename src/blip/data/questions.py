"""Questions about an image: how samples hold them, and how one is cleaned before it is read."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from blip.files import is_utf8

QUESTIONS = "questions"
"""Where they stand in `meta`, and so in KEY.json."""
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
        question = read_question(entry, number) if isinstance(entry, dict) else None
        if question is None:
            fault = fault or f"{BROKEN_QUESTION}: number {number}"
        else:
            found.append(question)
    return found, fault


def read_question(entry: dict[str, Any], number: int) -> AskedQuestion | None:
    """A question of an annotation file or of KEY.json; None where it has no text to read."""
    text = entry.get("question", entry.get("text"))
    answers = list_answers(entry)
    if not isinstance(text, str) or not is_utf8(text) or answers is None:
        return None
    own_id = entry.get("question_id", entry.get("qa_id", str(number)))
    question_id = own_id if isinstance(own_id, int | str) else str(own_id)
    types = (entry.get(name) for name in ("answer_type", "question_type"))
    answer_type, question_type = (kind if isinstance(kind, str) else "" for kind in types)
    weight = entry.get("weight", 1.0)
    weight = float(weight) if isinstance(weight, int | float) else 1.0
    return AskedQuestion(question_id, text, tuple(answers), answer_type, question_type, weight)


def list_answers(entry: dict[str, Any]) -> list[str] | None:
    """The annotators' answers in an entry; None where something else than texts stands there.

    Known are `answers` and `answer` (a text, a list of texts, or a list of `{"answer": ...}`), and
    A-OKVQA's `direct_answers`.
    """
    given = next((entry[name] for name in ANSWERS if entry.get(name) is not None), [])
    values = given if isinstance(given, list) else [given]
    texts = [value.get("answer") if isinstance(value, dict) else value for value in values]
    # DAQUAR's counts may stand there as numbers.
    texts = [str(text) if type(text) in (int, float) else text for text in texts]
    if not all(isinstance(text, str) and is_utf8(text) for text in texts):
        return None
    return [text.strip() for text in texts if text.strip()]
