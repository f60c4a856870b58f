"""Which patches words look at: the weights are those by which the model itself attends."""

from dataclasses import replace

import pytest
import torch

from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError
from blip.inference.attention import attention_of_words, cross_attention_weights
from blip.model.blip import Blip
from blip.nn.attention import join_heads
from blip.nn.mode import BOTH_MODES, Mode
from tests.support.pictures import photo
from tests.support.tiny import TINY, tiny_model


@pytest.mark.parametrize("mode", BOTH_MODES)
@torch.inference_mode()
def test_weighted_values_are_what_the_model_reads(mode: Mode) -> None:
    model = tiny_model()
    kv = model.project_image(model.encode_image(torch.randn(1, 3, 32, 32)), mode)
    for index, layer in enumerate(model.text.text_layers()):
        (attention,) = layer.cross(mode).attentions
        hidden = torch.randn(4, 16)
        weights = attention.weights(hidden, kv.keys[index][0])
        expected = attention(hidden[None], kv.layer(index))
        found = attention.output(join_heads(weights[None] @ kv.values[index]))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mode", BOTH_MODES)
@torch.inference_mode()
def test_words_know_what_the_text_transformer_lets_them_see(mode: Mode) -> None:
    model = tiny_model()
    kv = model.project_image(model.encode_image(torch.randn(1, 3, 32, 32)), mode)
    one, other = (
        cross_attention_weights(model.text, torch.tensor([ids]), mode, kv)
        for ids in ([3, 4, 5, 6], [3, 4, 5, 7])
    )
    assert one.shape == (2, 2, 4, 5)
    torch.testing.assert_close(one.sum(dim=-1), torch.ones(2, 2, 4))
    assert not torch.allclose(one[:, :, 3], other[:, :, 3])
    assert torch.allclose(one[:, :, :3], other[:, :, :3]) is (mode == "causal")


@pytest.mark.parametrize("modes", [BOTH_MODES, ("bidirectional",)], ids=["decoder", "encoder"])
def test_each_word_has_a_map_of_all_patches(modes: tuple[Mode, ...]) -> None:
    tokenizer = Tokenizer.train(["a red circle", "two blue stars"], vocabulary_size=80)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    model = Blip(replace(TINY, text=text, modes=modes)).eval()
    maps = attention_of_words(model, tokenizer, photo(), "Two  red, recircled stars!")
    assert [one.word for one in maps] == ["two", "red", ",", "recircled", "stars"]
    for one in maps:
        assert one.weights.shape == (2, 2)
        assert float(one.weights.sum()) == pytest.approx(1)
    # What is too long for the model is left out.
    assert len(attention_of_words(model, tokenizer, photo(), "red " * 50)) < 31
    with pytest.raises(ArgumentError, match="it has no words"):
        attention_of_words(model, tokenizer, photo(), " .!")
