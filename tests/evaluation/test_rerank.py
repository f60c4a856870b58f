"""Calls of the grounded encoder: every pair once, in order, and scores of each kind."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.data.tokenizer import Tokenizer
from blip.evaluation import room
from blip.evaluation.config import MatchScore
from blip.evaluation.rerank import MATCH_SCORES, Reranker, split_into_calls
from blip.evaluation.room import TOKENS_AT_A_TIME
from tests.support.tiny import make_model


@given(
    st.lists(st.integers(0, 400), max_size=12),
    st.lists(st.integers(2, 512), min_size=400, max_size=400),
    st.integers(1, 12),
)
def test_calls_hold_every_pair_once_in_order_and_few_tokens(
    counts: list[int], lengths: list[int], most: int
) -> None:
    wanted = [(image, np.arange(count)) for image, count in enumerate(counts)]
    calls = list(split_into_calls(wanted, np.array(lengths), most))
    pairs = [
        (image, int(text))
        for call in calls
        for image, texts in call.texts_of_images
        for text in texts
    ]
    assert pairs == [(image, text) for image, count in enumerate(counts) for text in range(count)]
    split: list[int] = []
    for call in calls:
        tokens = [sum(lengths[text] for text in texts) for _, texts in call.texts_of_images]
        assert 0 < sum(tokens) <= TOKENS_AT_A_TIME
        assert len(tokens) * max(tokens) <= 2 * TOKENS_AT_A_TIME
        assert len(set(call.images)) == len(call.images) <= most
        split += call.images
    # Those of which keys and values could be needed twice are alone, one call after the other.
    for image, count in enumerate(counts):
        needed = sum(lengths[:count])
        assert split.count(image) == 1 or needed > TOKENS_AT_A_TIME or count == 0


@torch.no_grad()
@pytest.mark.parametrize("score", ["logit", "log_probability", "probability"])
@pytest.mark.parametrize("shared", [True, False])
def test_scores_are_those_of_each_pair_alone(
    tokenizer: Tokenizer, score: MatchScore, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.setattr(room, "BEGUN_BYTES", 0)
    model = make_model(tokenizer).eval()
    encoded = tokenizer.encode(["a red circle", "one big green star on grey", "two"], 35)
    texts = encoded.start_with(tokenizer.enc_id)
    states = model.encode_image(torch.randn(3, 3, 32, 32))
    wanted = [(0, np.array([2, 0])), (1, np.array([], dtype=int)), (2, np.array([0, 1, 2]))]
    reranker = Reranker(model, texts)
    assert (reranker.begun is not None) == shared
    with torch.inference_mode():
        found = MATCH_SCORES[score](reranker.logits(states, wanted))
    alone = []
    for image, columns in wanted:
        image_kv = model.project_image(states[image : image + 1], "bidirectional")
        for column in columns.tolist():
            row = slice(column, column + 1)
            logits = model.match_logits(texts.ids[row], texts.visible[row], image_kv)[0]
            probability = float(logits.exp()[1] / logits.exp().sum())
            alone.append(
                {
                    "logit": float(logits[1]),
                    "log_probability": np.log(probability),
                    "probability": probability,
                }[score]
            )
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)
