"""Ranking: with all as candidates it is every pair scored alone; with few, the rest comes last."""

from pathlib import Path

import numpy as np
import pytest
import torch

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Tokenizer
from blip.errors import NotFiniteError
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import NOT_RANKED, rank
from tests.support.tiny import make_model


@torch.no_grad()
def test_all_candidates_equal_one_pair_at_a_time(tokenizer: Tokenizer, shards: Path) -> None:
    model = make_model(tokenizer)
    data = EvaluationSet([str(shards)], 32)
    ranking = rank(model, tokenizer, data, RetrievalEvaluationConfig(candidates=99, batch_size=4))
    texts = [text for group in data.texts for text in group]
    assert ranking.image_to_text.shape == (12, 18)
    assert ranking.texts_of_image[:3] == [[0], [1, 2], [3]]
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
            np.testing.assert_allclose(ranking.image_to_text[image, column], expected, rtol=1e-4)
    np.testing.assert_array_equal(ranking.image_to_text, ranking.text_to_image)


def test_only_the_best_of_itc_are_ranked_again(tokenizer: Tokenizer, shards: Path) -> None:
    data = EvaluationSet([str(shards)], 32)
    config = RetrievalEvaluationConfig(candidates=3)
    ranking = rank(make_model(tokenizer), tokenizer, data, config)
    assert ((ranking.image_to_text > NOT_RANKED).sum(axis=1) == 3).all()
    assert ((ranking.text_to_image > NOT_RANKED).sum(axis=0) == 3).all()


def test_texts_are_read_as_in_training(tokenizer: Tokenizer, shards: Path) -> None:
    data = EvaluationSet([str(shards)], 32)
    config = RetrievalEvaluationConfig(candidates=3)
    bare = rank(make_model(tokenizer), tokenizer, data, config)
    data.texts = [[f'"{text.capitalize()}"!!!' for text in group] for group in data.texts]
    marked = rank(make_model(tokenizer), tokenizer, data, config)
    np.testing.assert_array_equal(marked.image_to_text, bare.image_to_text)
    np.testing.assert_array_equal(marked.text_to_image, bare.text_to_image)


def test_equal_texts_have_equal_scores_and_are_candidates_together(
    tokenizer: Tokenizer, shards: Path
) -> None:
    data = EvaluationSet([str(shards)], 32)
    # A long one among them, so that equal ones would be padded differently in their batches.
    data.texts = [["a red circle"], ["one big green star on grey ground"], ["A red circle."]] * 4
    config = RetrievalEvaluationConfig(candidates=2, batch_size=2)
    ranking = rank(make_model(tokenizer), tokenizer, data, config)
    for scores in (ranking.image_to_text, ranking.text_to_image):
        circles = scores.reshape(12, 4, 3)[:, :, [0, 2]].reshape(12, 8)
        assert (circles == circles[:, :1]).all()


def test_scores_that_are_all_nan_are_refused(tokenizer: Tokenizer, shards: Path) -> None:
    model = make_model(tokenizer)
    torch.nn.init.constant_(model.vision.norm.weight, 3e38)
    data = EvaluationSet([str(shards)], 32)
    with pytest.raises(NotFiniteError, match="NaN or infinite for every pair"):
        rank(model, tokenizer, data, RetrievalEvaluationConfig(candidates=3))
