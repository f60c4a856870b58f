"""Zero-shot video retrieval against the original: cosines, scores of all pairs, recalls."""

from typing import Any

import pytest
import torch

from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import rank
from blip.evaluation.video_retrieval import retrieval_figures
from blip.inference.embedder import Embedder
from blip.inference.pixels import NormalisedImage
from blip.model.blip import Blip
from tests.support.vectors import CLOSE, needs_vectors, texts, tiny_model, tokenizer, vectors

pytestmark = needs_vectors

NOT_RANKED = -100.0
"""What the original gives a pair that is no candidate."""


class GoldenVideos:
    """The frames and texts of the golden vectors, one text each."""

    def __init__(self) -> None:
        self.pixels = vectors("video_retrieval")["frames"]
        self.frames = self.pixels.shape[1]
        self.texts = [[text] for text in texts()["video_retrieval.texts"]]

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, start: int, stop: int) -> torch.Tensor:
        return self.pixels[start:stop]


@pytest.mark.parametrize("k", [3, 6])
def test_scores_are_those_of_the_original(k: int) -> None:
    golden, model = vectors("video_retrieval"), tiny_model("retrieval", Blip)
    config = RetrievalEvaluationConfig(candidates=k, batch_size=4)
    ranking = rank(model, tokenizer(), GoldenVideos(), config)
    for name in ("v2t", "t2v"):
        ranked = ranking.image_to_text if name == "v2t" else ranking.text_to_image
        found = ranked.to_matrix(NOT_RANKED)
        torch.testing.assert_close(torch.tensor(found), golden[f"score_{name}.k{k}"], **CLOSE)


def test_figures_are_those_of_the_original_where_no_scores_are_equal() -> None:
    official: dict[str, Any] = texts()["video_retrieval.metrics.k6"]
    found = retrieval_figures(
        rank(
            tiny_model("retrieval", Blip),
            tokenizer(),
            GoldenVideos(),
            RetrievalEvaluationConfig(candidates=6),
        )
    )
    assert {name: found[name] for name in official_names(official)} == pytest.approx(
        official_names(official)
    )


def official_names(official: dict[str, Any]) -> dict[str, float]:
    """The original's figures by our names: `vid_r1` is text to video, `txt_r1` video to text."""
    ways = (("txt", "tr"), ("vid", "vr"))
    names = {f"{way}_r{cut}": f"{ours}{cut}" for way, ours in ways for cut in (1, 5, 10)}
    names["vid_mdR"] = "vr_median_rank"
    return {names[name]: value for name, value in official.items() if name in names}


def test_the_embedder_gives_the_originals_similarities() -> None:
    golden = vectors("video_retrieval")
    embedder = Embedder(tiny_model("retrieval", Blip), tokenizer())
    videos = embedder.embed_images([*map(NormalisedImage, golden["frames"])], batch_size=9)
    found = videos @ embedder.embed_texts(texts()["video_retrieval.texts"]).T
    torch.testing.assert_close(torch.tensor(found), golden["sims"], **CLOSE)
