"""Ranking against the original: scores of all pairs, re-ranked ones and the rest, and recalls."""

from typing import Any, cast

import numpy as np
import pytest
import torch

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import rank
from blip.evaluation.retrieval import evaluate_retrieval
from blip.inference.embedder import Embedder
from blip.metrics.retrieval import recalls
from blip.model.blip import Blip
from tests.support.ranked_scores import rank_all
from tests.support.vectors import CLOSE, needs_vectors, texts, tiny_model, tokenizer, vectors

pytestmark = needs_vectors

NOT_RANKED = -100.0
"""What the original gives a pair that is no candidate."""


class GoldenSet:
    """The images and texts of the golden vectors, as an `EvaluationSet` holds them."""

    frames = 1

    def __init__(self) -> None:
        self.pixels = vectors("retrieval_evaluation")["images"]
        said, own = (texts()[f"retrieval_evaluation.{name}"] for name in ("texts", "img2txt"))
        self.texts = [[said[column] for column in columns] for columns in own]

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, start: int, stop: int) -> torch.Tensor:
        return self.pixels[start:stop]


def golden_set() -> EvaluationSet:
    return cast(EvaluationSet, GoldenSet())


def official(k: int) -> dict[str, float]:
    found: dict[str, Any] = texts()[f"retrieval_evaluation.metrics.k{k}"]
    return {
        f"{way[0]}r{cut}": found[f"{way}_r{cut}"] for way in ("txt", "img") for cut in (1, 5, 10)
    }


@pytest.mark.parametrize("k", [4, 12])
def test_scores_are_those_of_the_original(k: int) -> None:
    golden, model = vectors("retrieval_evaluation"), tiny_model("retrieval", Blip)
    config = RetrievalEvaluationConfig(candidates=k, batch_size=5)
    ranking = rank(model, tokenizer(), golden_set(), config)
    for name in ("i2t", "t2i"):
        ranked = ranking.image_to_text if name == "i2t" else ranking.text_to_image
        found = ranked.to_matrix(NOT_RANKED)
        torch.testing.assert_close(torch.tensor(found), golden[f"score_{name}.k{k}"], **CLOSE)


def test_recalls_are_those_of_the_original_where_no_scores_are_equal() -> None:
    found = evaluate_retrieval(
        tiny_model("retrieval", Blip),
        tokenizer(),
        golden_set(),
        RetrievalEvaluationConfig(candidates=12),
    )
    assert found == pytest.approx(official(12))


def test_equal_scores_change_no_first_place() -> None:
    golden, own = vectors("retrieval_evaluation"), texts()["retrieval_evaluation.img2txt"]
    found = recalls(
        rank_all(golden["score_i2t.k4"].numpy()),
        rank_all(golden["score_t2i.k4"].numpy()),
        own,
    )
    assert found["tr1"] == pytest.approx(official(4)["tr1"])
    assert found["ir1"] == pytest.approx(official(4)["ir1"])
    assert np.isfinite(list(found.values())).all()


def test_the_embedder_gives_the_originals_similarities() -> None:
    golden = vectors("retrieval_evaluation")
    embedder = Embedder(tiny_model("retrieval", Blip), tokenizer())
    images = embedder.embed_images(golden["images"], batch_size=5)
    found = images @ embedder.embed_texts(texts()["retrieval_evaluation.texts"], batch_size=8).T
    torch.testing.assert_close(torch.tensor(found), golden["sims"], **CLOSE)
