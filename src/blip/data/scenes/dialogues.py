"""Dialogues about a scene: a caption, then rounds of questions with candidate answers."""

from dataclasses import dataclass

import numpy as np

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.language import caption
from blip.data.scenes.questions import Question, possible_answers, questions
from blip.data.scenes.scene import Scene


@dataclass(frozen=True, slots=True)
class Round:
    """A question, its answer, and the candidates, which contain the answer once."""

    question: str
    answer: str
    candidates: tuple[str, ...]
    relevance: tuple[float, ...]
    """Relevance of each candidate, for NDCG: 1 the answer, 0.5 also correct, 0 wrong."""

    @property
    def answer_index(self) -> int:
        """Index of the answer among the candidates."""
        return self.candidates.index(self.answer)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A caption and the rounds after it (Visual Dialog)."""

    caption: str
    rounds: tuple[Round, ...]


def dialogue(
    scene: Scene,
    config: ScenesConfig,
    rng: np.random.Generator,
    *,
    rounds: int = 10,
    candidates: int = 100,
) -> Dialogue:
    """A dialogue of at most `rounds` rounds; fewer if there are not enough questions.

    Each round has `candidates` different answers; fewer if the scenes do not have as many.
    """
    if rounds < 1 or candidates < 2:
        raise ValueError(
            "a dialogue needs rounds of at least 1 and candidates of at least 2, "
            f"got {rounds} and {candidates}"
        )
    asked = questions(scene, rounds, config, rng)
    pool = possible_answers(config)
    return Dialogue(
        caption(scene, rng), tuple(_round(question, pool, candidates, rng) for question in asked)
    )


def _round(
    question: Question, pool: tuple[str, ...], count: int, rng: np.random.Generator
) -> Round:
    others = [answer for answer in pool if answer != question.answer]
    chosen = [others[i] for i in rng.permutation(len(others))[: count - 1]]
    chosen.insert(int(rng.integers(len(chosen) + 1)), question.answer)
    relevance = {question.answer: 1.0} | dict.fromkeys(question.also_right, 0.5)
    return Round(
        question.text,
        question.answer,
        tuple(chosen),
        tuple(relevance.get(answer, 0.0) for answer in chosen),
    )
