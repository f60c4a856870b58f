"""Dialogues about an image, as samples hold them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from blip.data.questions import clean_question
from blip.files import is_utf8

DIALOGUE = "dialogue"
"""Where it stands in `meta`, and so in KEY.json."""

BROKEN_ROUND, MISSING_ANSWER = "broken_round", "missing_answer"
WRONG_OPTIONS, WRONG_ANSWER_INDEX = "wrong_options", "wrong_answer_index"
WRONG_RELEVANCE, NO_ROUND = "wrong_relevance", "no_round"
DUPLICATE_IMAGE = "duplicate_image_id"


@dataclass(frozen=True, slots=True)
class Round:
    """A question and its answer, with the candidates among which it is to be found."""

    question: str
    answer: str | None = None
    """None where it is withheld, as in the last round of a test split."""
    options: tuple[str, ...] = ()
    """100 in VisDial; none where the round is only history."""
    answer_index: int | None = None
    """Which of the options the answer is; None where it is withheld."""
    relevance: tuple[float, ...] = ()
    """For each option the share of annotators who found it right; none where nobody was asked."""

    def find_false(self) -> Iterator[str]:
        """The options that a model does not read as the answer; the same text may come twice."""
        assert self.answer_index is not None
        answer = clean_question(self.options[self.answer_index])
        return (option for option in self.options if clean_question(option) != answer)

    def to_json(self) -> dict[str, Any]:
        """As it stands in KEY.json; what is withheld is left out."""
        found: dict[str, Any] = {"question": self.question}
        if self.answer is not None:
            found["answer"] = self.answer
        if self.options:
            found["options"] = list(self.options)
        if self.answer_index is not None:
            found["answer_index"] = self.answer_index
        if self.relevance:
            found["relevance"] = list(self.relevance)
        return found


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The caption of an image and the rounds about it."""

    caption: str
    rounds: tuple[Round, ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands as `DIALOGUE` in a sample's `meta`, and so in KEY.json."""
        return {"caption": self.caption, "rounds": [one.to_json() for one in self.rounds]}

    def turn(self, number: int) -> "Turn":
        """What a model reads to answer the question of round `number`, from 0."""
        return Turn(
            self.caption,
            tuple((one.question, one.answer or "") for one in self.rounds[:number]),
            self.rounds[number].question,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with the caption and the rounds before it."""

    caption: str
    history: tuple[tuple[str, str], ...]
    """Questions with their answers."""
    question: str


def dialogue_of(meta: dict[str, Any]) -> tuple[Dialogue | None, list[str]]:
    """The dialogue in the `meta` of a sample, None without a sound round, and what is wrong."""
    entry = meta.get(DIALOGUE)
    given = entry.get("rounds") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(given, list):
        return None, [NO_ROUND]
    rounds, faults = read_rounds(given)
    caption = entry.get("caption")
    sound = Dialogue(caption if _is_text(caption) else "", tuple(rounds))
    return (sound if rounds else None), faults


def read_rounds(entries: list[Any]) -> tuple[list[Round], list[str]]:
    """The rounds in their order, and the reason and number of each that is broken.

    A round without a question, or without the answer that the next ones need, ends the dialogue.
    An answer is withheld where it is absent or null; another value that is no text is a fault, and
    the round is not ranked. A round whose options, or whose index of the answer, are wrong is
    history and is not ranked.
    """
    rounds, faults = list[Round](), list[str]()
    for number, entry in enumerate(entries, 1):
        question = entry.get("question") if isinstance(entry, dict) else None
        if not _is_text(question) or not clean_question(question):
            faults.append(f"{BROKEN_ROUND}: round {number} has no text as its question")
            break
        answer = entry.get("answer")
        if answer is not None and not _is_text(answer):
            faults.append(f"{MISSING_ANSWER}: round {number} has no text as its answer")
            rounds.append(Round(question))
            break
        one, fault = _with_options(Round(question, answer), entry)
        if fault is not None:
            faults.append(f"{fault} (round {number})")
        rounds.append(one)
        if one.answer is None and number < len(entries):
            faults.append(f"{MISSING_ANSWER}: round {number} is not the last")
            break
    return rounds, faults


def _with_options(plain: Round, entry: dict[str, Any]) -> tuple[Round, str | None]:
    """The round with its options, or without them and why."""
    options, index = entry.get("options"), entry.get("answer_index")
    if options is None:
        return plain, None
    if not isinstance(options, list) or len(options) < 2 or not all(map(_is_text, options)):
        return plain, f"{WRONG_OPTIONS}: they are not texts, two or more"
    if index is not None:
        whole = isinstance(index, int) and not isinstance(index, bool)
        if not whole or not 0 <= index < len(options):
            return plain, f"{WRONG_ANSWER_INDEX}: {index!r} of {len(options)} options"
        if plain.answer is not None and options[index] != plain.answer:
            return plain, f"{WRONG_ANSWER_INDEX}: option {index} is not the answer"
    sound = Round(plain.question, plain.answer, tuple(options), index)
    relevance = entry.get("relevance")
    if relevance is None:
        return sound, None
    if not isinstance(relevance, list) or len(relevance) != len(options):
        return sound, f"{WRONG_RELEVANCE}: it is no list of {len(options)} numbers"
    if not all(_is_share(value) for value in relevance):
        return sound, f"{WRONG_RELEVANCE}: it must be numbers from 0 to 1"
    found = tuple(map(float, relevance))
    return Round(plain.question, plain.answer, tuple(options), index, found), None


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and is_utf8(value)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
