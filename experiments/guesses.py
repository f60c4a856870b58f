"""What guessing without a picture gives: the most frequent answer, counted in the training data."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from blip.data.dialogues import Round, dialogue_of
from blip.data.questions import AskedQuestion, questions_of
from blip.data.sample import Sample
from blip.data.statements import PairStatement, statements_of
from blip.metrics.visdial import visdial_scores
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


def guess_options(training: Sequence[Sample], test: Sequence[Sample]) -> dict[str, Figures]:
    """Candidate answers of a dialogue in the order of how often each was given in training.

    Once counted in all rounds, and once in those whose question begins with the same two words.
    """
    of_all: Weights = defaultdict(float)
    of_type: defaultdict[str, Weights] = defaultdict(lambda: defaultdict(float))
    for one in _list_rounds(training):
        if one.answer is not None:
            of_all[one.answer] += 1.0
            of_type[_first_words(one.question)][one.answer] += 1.0
    guessed: dict[str, list[dict[str, float]]] = {"most_frequent": [], "most_frequent_of_type": []}
    for one in _list_rounds(test):
        if one.options and one.answer_index is not None:
            counts = {
                "most_frequent": of_all,
                "most_frequent_of_type": of_type[_first_words(one.question)],
            }
            for name, weights in counts.items():
                scores = np.array([[weights.get(option, 0.0) for option in one.options]])
                guessed[name].append(visdial_scores(scores, np.array([one.answer_index])))
    return {
        name: {figure: float(np.mean([one[figure] for one in found])) for figure in found[0]}
        for name, found in guessed.items()
    }


def list_questions(samples: Sequence[Sample]) -> list[AskedQuestion]:
    """All questions, sample by sample."""
    return [question for sample in samples for question in questions_of(sample.meta)[0]]


def list_statements(samples: Sequence[Sample]) -> list[PairStatement]:
    """All statements that have a label, sample by sample."""
    stated = [one for sample in samples for one in statements_of(sample.meta)[0]]
    return [statement for statement in stated if statement.label is not None]


def _list_rounds(samples: Sequence[Sample]) -> list[Round]:
    dialogues = [dialogue_of(sample.meta)[0] for sample in samples]
    return [one for dialogue in dialogues if dialogue is not None for one in dialogue.rounds]


def _type_of(question: AskedQuestion) -> str:
    return question.answer_type or _first_words(question.text)


def _first_words(question: str) -> str:
    return " ".join(question.lower().split()[:2])


def _most_frequent(weights: Weights) -> str:
    """The first by alphabet of those that weigh alike; empty where there are none."""
    return min(weights, key=lambda answer: (-weights[answer], answer), default="")
