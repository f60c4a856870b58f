"""VQA accuracy (Goyal 2017): how many of ten annotators gave the answer, as published."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

ENOUGH = 3
"""Annotators who have to agree for an answer to count whole."""

_NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
}
_NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS_AROUND_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MAX_PERIODS = 32
"""The official code passes a flag of `re` as the number of replacements: this is its value."""

_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
    might've mustn't must've needn't not've o'clock oughtn't shan't she'd've should've shouldn't
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's they'd
    they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why're why's won't
    would've wouldn't wouldn't've y'all you'd you'd've you'll you're you've
"""
_NOT_RESTORED = {"somebody'd": "somebodyd"}
"""The official table has this one the other way round."""


def _spellings(contraction: str) -> Iterable[str]:
    """The contraction with one of its apostrophes left out, for each of them."""
    for place, letter in enumerate(contraction):
        if letter == "'":
            yield contraction[:place] + contraction[place + 1 :]


_RESTORED = {
    spelling: contraction
    for contraction in _CONTRACTIONS.split()
    for spelling in _spellings(contraction)
} | _NOT_RESTORED


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A question's predicted answer and what its annotators said."""

    prediction: str
    answers: Sequence[str]
    """One for each annotator, as they were written."""
    answer_type: str = ""
    """Such as "yes/no", "number", "other"; empty where the data set has none."""
    question_type: str = ""
    """Such as "how many"; empty where the data set has none."""


def normalise_answer(text: str) -> str:
    """An answer as the official code compares it where annotators differ.

    Lower case; line breaks and tabs are blanks; no punctuation, articles or final periods; number
    words up to ten are digits; contractions have their apostrophe.
    """
    text = _flatten(text)
    between_digits = _DIGITS_AROUND_COMMA.search(text) is not None
    without = text
    for mark in _PUNCTUATION:
        beside_blank = f"{mark} " in text or f" {mark}" in text
        without = without.replace(mark, "" if beside_blank or between_digits else " ")
    words = _PERIOD.sub("", without, count=_MAX_PERIODS).lower().split()
    numbers = (_NUMBERS.get(word, word) for word in words)
    return " ".join(_RESTORED.get(word, word) for word in numbers if word not in _ARTICLES)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """The accuracy of one answer, 0 to 1: the mean over annotators of min(1, others who agree / 3).

    As published, answers are normalised only where the annotators differ. With a single annotator
    nobody is left out: the answer is right or wrong. Raises ValueError without any annotator.
    """
    if not answers:
        raise ValueError("a question without answers cannot be scored")
    given, prediction = [_flatten(answer) for answer in answers], _flatten(prediction)
    if len(set(answers)) > 1:
        given = [normalise_answer(answer) for answer in given]
        prediction = normalise_answer(prediction)
    agree = sum(answer == prediction for answer in given)
    if len(given) == 1:
        return float(agree)
    scores = [min(1.0, (agree - (answer == prediction)) / ENOUGH) for answer in given]
    return sum(scores) / len(scores)


def vqa_scores(questions: Iterable[AnsweredQuestion]) -> dict[str, float]:
    """`accuracy` in per cent, and `accuracy/TYPE` for each type of answer and of question."""
    groups: dict[str, list[float]] = defaultdict(list)
    for question in questions:
        score = 100.0 * vqa_accuracy(question.prediction, question.answers)
        groups["accuracy"].append(score)
        for kind in filter(None, dict.fromkeys([question.answer_type, question.question_type])):
            groups[f"accuracy/{kind}"].append(score)
    return {name: float(np.mean(scores)) for name, scores in groups.items()}


def _flatten(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
