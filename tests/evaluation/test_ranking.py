"""Ranking: with all as candidates it is every pair scored alone; with few, the rest comes last."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Tokenizer
from blip.errors import NotFiniteError
from blip.evaluation import room
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import rank
from tests.support.tiny import make_model

NOT_RANKED = -100.0


@torch.no_grad()
def test_all_candidates_equal_one_pair_at_a_time(tokenizer: Tokenizer, shards: Path) -> None:
    model = make_model(tokenizer)
    data = EvaluationSet([str(shards)], 32)
    result = rank(model, tokenizer, data, RetrievalEvaluationConfig(candidates=99, batch_size=4))
    texts = [text for group in data.texts for text in group]
    scores = result.image_to_text.to_matrix(NOT_RANKED)
    assert scores.shape == (12, 18)
    assert result.texts_of_image[:3] == [[0], [1, 2], [3]]
    for image in (0, 5, 11):
        states = model.encode_image(data.images(image, image + 1))
        image_kv = model.project_image(states, "bidirectional")
        for column in (0, 7, 17):
            encoded = tokenizer.encode([texts[column]], 35)
            cosine = (
                model.image_features(states) @ model.text_features(encoded.ids, encoded.visible).T
            )
            start = encoded.start_with(tokenizer.enc_id)
            logit = model.match_logits(start.ids, start.visible, image_kv)[0, 1]
            expected = float(cosine[0, 0] + logit)
            np.testing.assert_allclose(scores[image, column], expected, rtol=1e-4)
    np.testing.assert_array_equal(scores, result.text_to_image.to_matrix(NOT_RANKED).T)


def test_only_the_best_of_itc_are_ranked_again(tokenizer: Tokenizer, shards: Path) -> None:
    data = EvaluationSet([str(shards)], 32)
    config = RetrievalEvaluationConfig(candidates=3)
    result = rank(make_model(tokenizer), tokenizer, data, config)
    for direction in (result.image_to_text, result.text_to_image):
        assert ((direction.to_matrix(NOT_RANKED) > NOT_RANKED).sum(axis=1) == 3).all()


def test_texts_are_read_as_in_training(tokenizer: Tokenizer, shards: Path) -> None:
    data = EvaluationSet([str(shards)], 32)
    config = RetrievalEvaluationConfig(candidates=3)
    bare = rank(make_model(tokenizer), tokenizer, data, config)
    data.texts = [[f'"{text.capitalize()}"!!!' for text in group] for group in data.texts]
    marked = rank(make_model(tokenizer), tokenizer, data, config)
    for left, right in (
        (marked.image_to_text, bare.image_to_text),
        (marked.text_to_image, bare.text_to_image),
    ):
        np.testing.assert_array_equal(left.columns, right.columns)
        np.testing.assert_array_equal(left.scores, right.scores)


def test_equal_texts_have_equal_scores_and_are_candidates_together(
    tokenizer: Tokenizer, shards: Path
) -> None:
    data = EvaluationSet([str(shards)], 32)
    # A long one among them, so that equal ones would be padded differently in their batches.
    data.texts = [["a red circle"], ["one big green star on grey ground"], ["A red circle."]] * 4
    config = RetrievalEvaluationConfig(candidates=2, batch_size=2)
    result = rank(make_model(tokenizer), tokenizer, data, config)
    for scores in (
        result.image_to_text.to_matrix(NOT_RANKED),
        result.text_to_image.to_matrix(NOT_RANKED).T,
    ):
        circles = scores.reshape(12, 4, 3)[:, :, [0, 2]].reshape(12, 8)
        assert (circles == circles[:, :1]).all()


def test_scores_that_are_all_nan_are_refused(tokenizer: Tokenizer, shards: Path) -> None:
    model = make_model(tokenizer)
    torch.nn.init.constant_(model.vision.norm.weight, 3e38)
    data = EvaluationSet([str(shards)], 32)
    with pytest.raises(NotFiniteError, match="NaN or infinite for every pair"):
        rank(model, tokenizer, data, RetrievalEvaluationConfig(candidates=3))


def test_images_whose_states_do_not_fit_are_encoded_again_to_the_same_scores(
    tokenizer: Tokenizer, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tokenizer)
    data = EvaluationSet([str(shards)], 32)
    config = RetrievalEvaluationConfig(candidates=4, batch_size=5)
    encoded: list[int] = []
    model.vision.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    kept = rank(model, tokenizer, data, config)
    assert encoded == [5, 5, 2]
    monkeypatch.setattr(room, "STATES_BYTES", 0)
    encoded.clear()
    again = rank(model, tokenizer, data, config)
    assert encoded == [5, 5, 2] * 2
    np.testing.assert_array_equal(again.image_to_text.scores, kept.image_to_text.scores)
    np.testing.assert_array_equal(again.text_to_image.scores, kept.text_to_image.scores)


def test_the_cosine_is_weighted_and_the_score_of_itm_chosen(
    tokenizer: Tokenizer, shards: Path
) -> None:
    model, data = make_model(tokenizer), EvaluationSet([str(shards)], 32)

    def scores(**chosen: Any) -> np.ndarray:
        config = RetrievalEvaluationConfig(candidates=99, **chosen)
        return rank(model, tokenizer, data, config).image_to_text.scores

    probability = scores(score="probability", itc_weight=0.0)
    assert ((probability > 0) & (probability < 1)).all()
    np.testing.assert_allclose(
        scores(score="log_probability", itc_weight=0.0), np.log(probability), rtol=1e-4
    )
    cosine = scores(score="probability", itc_weight=1.0) - probability
    np.testing.assert_allclose(
        scores(score="probability", itc_weight=3.0), probability + 3 * cosine, atol=1e-5
    )
    assert np.abs(cosine).max() > 0.1


def test_a_bar_is_shown_only_on_request(
    tokenizer: Tokenizer, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = make_model(tokenizer), EvaluationSet([str(shards)], 32)
    config = RetrievalEvaluationConfig(candidates=3)
    rank(model, tokenizer, data, config)
    assert capsys.readouterr().err == ""
    rank(model, tokenizer, data, config, show_progress=True)
    assert "12/12 images" in capsys.readouterr().err
