"""What guessing without a picture gives: the most frequent answer, counted in the training data."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from blip.data.questions import AskedQuestion, questions_of
from blip.data.sample import Sample
from blip.data.statements import PairStatement, statements_of
from blip.metrics.vqa import AnsweredQuestion, vqa_scores

Figures = dict[str, float]
Weights = defaultdict[str, float]
Predictions = dict[str, list[str]]
"""An answer to each question, by the way to guess."""
Guess = Callable[[Sequence[Sample], Sequence[Sample]], dict[str, Figures]]
"""Of training and test samples, the figures of each way to guess, by its name."""


def predict_answers(training: Sequence[Sample], test: Sequence[Sample]) -> Predictions:
    """The most frequent answer of all questions, and that to each type of question.

    The type is what almost any question says by its first words, so that the second is fairer.
    Where a data set has no types, these are the first two words.
    """
    of_all: Weights = defaultdict(float)
    of_type: defaultdict[str, Weights] = defaultdict(lambda: defaultdict(float))
    for question in list_questions(training):
        for answer, weight in question.weigh_answers().items():
            of_all[answer] += weight
            of_type[_type_of(question)][answer] += weight
    best = _most_frequent(of_all)
    asked = list_questions(test)
    return {
        "most_frequent": [best for _ in asked],
        "most_frequent_of_type": [_most_frequent(of_type[_type_of(one)]) or best for one in asked],
    }


def guess_answers(training: Sequence[Sample], test: Sequence[Sample]) -> dict[str, Figures]:
    """VQA accuracy of `predict_answers`."""
    asked = list_questions(test)
    return {
        name: vqa_scores(
            AnsweredQuestion(answer, one.answers, one.answer_type, one.question_type)
            for one, answer in zip(asked, answers, strict=True)
            if one.answers
        )
        for name, answers in predict_answers(training, test).items()
    }


def predict_labels(training: Sequence[Sample], test: Sequence[Sample]) -> dict[str, list[bool]]:
    """The more frequent of true and false, for all statements."""
    labels = Counter(statement.label for statement in list_statements(training))
    best = max((True, False), key=lambda label: labels[label])
    return {"most_frequent": [best for _ in list_statements(test)]}


def guess_labels(training: Sequence[Sample], test: Sequence[Sample]) -> dict[str, Figures]:
    """Accuracy of `predict_labels`."""
    stated = list_statements(test)
    return {
        name: {
            "accuracy": 100.0
            * sum(one.label == label for one, label in zip(stated, labels, strict=True))
            / len(stated)
        }
        for name, labels in predict_labels(training, test).items()
    }


def list_questions(samples: Sequence[Sample]) -> list[AskedQuestion]:
    """All questions, sample by sample."""
    return [question for sample in samples for question in questions_of(sample.meta)[0]]


def list_statements(samples: Sequence[Sample]) -> list[PairStatement]:
    """All statements that have a label, sample by sample."""
    stated = [one for sample in samples for one in statements_of(sample.meta)[0]]
    return [statement for statement in stated if statement.label is not None]


def _type_of(question: AskedQuestion) -> str:
    return question.answer_type or " ".join(question.text.split()[:2])


def _most_frequent(weights: Weights) -> str:
    """The first by alphabet of those that weigh alike; empty where there are none."""
    return min(weights, key=lambda answer: (-weights[answer], answer), default="")
