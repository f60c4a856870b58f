"""What guessing without a picture gives: the most frequent answer, counted in the training data."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from blip.data.questions import AskedQuestion, questions_of
from blip.data.sample import Sample
from blip.data.statements import PairStatement, statements_of
from blip.metrics.vqa import AnsweredQuestion, vqa_scores

Figures = dict[str, float]
Weights = defaultdict[str, float]
Guess = Callable[[Sequence[Sample], Sequence[Sample]], dict[str, Figures]]
"""Of training and test samples, the figures of each way to guess, by its name."""


def guess_answers(training: Sequence[Sample], test: Sequence[Sample]) -> dict[str, Figures]:
    """The most frequent answer of all questions, and that to each type of question.

    The type is what almost any question says by its first words, so that the second is fairer.
    """
    of_all: Weights = defaultdict(float)
    of_type: defaultdict[str, Weights] = defaultdict(lambda: defaultdict(float))
    for question in _questions(training):
        for answer, weight in question.weigh_answers().items():
            of_all[answer] += weight
            of_type[question.answer_type][answer] += weight
    best = _most_frequent(of_all)
    asked = [question for question in _questions(test) if question.answers]
    return {
        "most_frequent": _score_answers(asked, lambda _: best),
        "most_frequent_of_type": _score_answers(
            asked, lambda question: _most_frequent(of_type[question.answer_type]) or best
        ),
    }


def guess_labels(training: Sequence[Sample], test: Sequence[Sample]) -> dict[str, Figures]:
    """The more frequent of true and false, for all statements."""
    labels = Counter(statement.label for statement in _statements(training))
    best = max((True, False), key=lambda label: labels[label])
    right = [statement.label == best for statement in _statements(test)]
    return {"most_frequent": {"accuracy": 100.0 * sum(right) / len(right)}}


def _questions(samples: Sequence[Sample]) -> list[AskedQuestion]:
    return [question for sample in samples for question in questions_of(sample.meta)[0]]


def _statements(samples: Sequence[Sample]) -> list[PairStatement]:
    stated = [one for sample in samples for one in statements_of(sample.meta)[0]]
    return [statement for statement in stated if statement.label is not None]


def _most_frequent(weights: Weights) -> str:
    """The first by alphabet of those that weigh alike; empty where there are none."""
    return min(weights, key=lambda answer: (-weights[answer], answer), default="")


def _score_answers(
    asked: Sequence[AskedQuestion], answer: Callable[[AskedQuestion], str]
) -> Figures:
    return vqa_scores(
        AnsweredQuestion(answer(one), one.answers, one.answer_type, one.question_type)
        for one in asked
    )
