"""Fresh models from a BERT: the same states as its, one list of what does not fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    BertForPreTraining,
    BertLMHeadModel,
)

from blip.errors import BlipError, UsageError
from blip.model.blip import Blip
from blip.model.checkpoint.initial import start_text
from blip.model.config import Sharing
from blip.model.make import make_model
from tests.support.initial_weights import (
    CLOSE,
    State,
    bert,
    bert_config,
    saved,
    state_of,
)
from tests.support.tiny import TINY, tiny_model, tiny_texts

SHARING: list[Sharing] = ["all", "all_but_cross_attention", "all_but_self_attention", "nothing"]


def without_types(model: BertForPreTraining) -> BertForPreTraining:
    torch.nn.init.zeros_(model.bert.embeddings.token_type_embeddings.weight)
    return model


def _plain(state: State) -> State:
    return state


def _without_prefix(state: State) -> State:
    """As a BERT without heads is saved."""
    return {
        name.removeprefix("bert."): tensor
        for name, tensor in state.items()
        if name.startswith("bert.")
    }


def _older(state: State) -> State:
    """As the first published files call the norms; with the numbers that were kept then."""
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in state.items()
    }
    return renamed | {"bert.embeddings.position_ids": torch.arange(32)[None]}


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("rename", [_plain, _without_prefix, _older])
def test_text_states_are_those_of_bert_without_token_types(
    tmp_path: Path, sharing: Sharing, rename: Callable[[State], State]
) -> None:
    theirs, model = without_types(bert()), tiny_model(sharing)
    path = saved(rename(state_of(theirs)), tmp_path / "bert.safetensors")
    message = start_text(model, path).line
    has_head = rename is not _without_prefix
    assert message.endswith(
        "newly initialised: cross-attention, 2 rows of the vocabulary"
        + ("" if has_head else ", language head")
    )
    ids, visible = tiny_texts(4)
    with torch.no_grad():
        expected = theirs.bert(ids, attention_mask=visible.long()).last_hidden_state
        found = model.encode_text(ids, visible)
    torch.testing.assert_close(found[visible], expected[visible], **CLOSE)
    compare_decoder(model, theirs, ids, visible, has_head=has_head)


def compare_decoder(
    model: Blip, theirs: BertForPreTraining, ids: Tensor, visible: Tensor, *, has_head: bool
) -> None:
    """Without an image, the decoder is a causal BERT with the head for masked words."""
    config = bert_config()
    config.is_decoder = True
    decoder = BertLMHeadModel(config).eval()
    decoder.load_state_dict(theirs.state_dict(), strict=False)
    with torch.no_grad():
        expected = decoder(ids, attention_mask=visible.long(), output_hidden_states=True)
        states = model.text(ids, visible, mode="causal")
        logits = model.next_token_logits(states)[..., :-2]
    torch.testing.assert_close(states[visible], expected.hidden_states[-1][visible], **CLOSE)
    close = torch.allclose(logits[visible], expected.logits[visible], **CLOSE)
    assert close == has_head


@pytest.mark.parametrize("sharing", SHARING)
def test_every_copy_is_filled_and_the_rest_stays(tmp_path: Path, sharing: Sharing) -> None:
    model, theirs = tiny_model(sharing), bert()
    before = state_of(model)
    start_text(model, saved(state_of(theirs), tmp_path / "bert.safetensors"))
    after = state_of(model)
    stayed = {name for name, tensor in after.items() if torch.equal(tensor, before[name])}
    assert stayed == {
        name
        for name in after
        if ".cross_attention." in name or not name.startswith(("text.", "language_head."))
    }
    words = theirs.bert.embeddings.word_embeddings.weight
    copies = [name for name in after if name.endswith(".words.weight")]
    assert len(copies) == (2 if sharing == "nothing" else 1)
    for name in copies:
        assert torch.equal(after[name][:-2], words)
        assert any(torch.equal(after[name][-2:], before[copy][-2:]) for copy in copies)
    assert torch.equal(after["language_head.bias"][:-2], theirs.cls.predictions.bias)
    assert after["language_head.bias"][-2:].tolist() == [0.0, 0.0]


def test_token_types_are_dropped_as_in_the_original(tmp_path: Path) -> None:
    theirs, model = bert(), tiny_model()
    start_text(model, saved(state_of(theirs), tmp_path / "bert.safetensors"))
    ids, visible = tiny_texts(2)
    types = theirs.bert.embeddings.token_type_embeddings.weight[0]
    embedding = model.text.embedding.select("bidirectional")
    assert torch.equal(
        embedding.positions.weight, theirs.bert.embeddings.position_embeddings.weight
    )
    with torch.no_grad():
        typed = theirs.bert(ids, attention_mask=visible.long()).last_hidden_state
        assert not torch.allclose(
            model.encode_text(ids, visible)[visible], typed[visible], atol=0.1
        )
        # With the first token type added to every position they would be BERT's.
        embedding.positions.weight += types
        torch.testing.assert_close(
            model.encode_text(ids, visible)[visible], typed[visible], **CLOSE
        )


def test_a_model_that_only_encodes_takes_no_head(tmp_path: Path) -> None:
    model = make_model(replace(TINY, modes=("bidirectional",)))
    assert isinstance(model, Blip)
    message = start_text(model, saved(state_of(bert()), tmp_path / "bert.safetensors")).line
    assert message.endswith("newly initialised: cross-attention, 2 rows of the vocabulary")


def test_a_vocabulary_of_the_same_size_has_no_fresh_row(tmp_path: Path) -> None:
    model, theirs = tiny_model(), bert(vocab_size=40)
    message = start_text(model, saved(state_of(theirs), tmp_path / "bert.safetensors")).line
    assert "0 rows of the vocabulary" in message
    words = model.text.embedding.select("causal").words.weight
    assert torch.equal(words, theirs.bert.embeddings.word_embeddings.weight)


def test_what_does_not_fit_a_text_transformer_is_one_list(tmp_path: Path) -> None:
    state, model = state_of(bert()), tiny_model()
    del state["bert.encoder.layer.1.attention.self.key.bias"]
    state["bert.encoder.layer.0.output.dense.bias"] = torch.zeros(17)
    state["bert.encoder.layer.0.crossattention.self.query.bias"] = torch.zeros(16)
    state["cls.predictions.decoder.weight"] += 1
    before, path = state_of(model), saved(state, tmp_path / "bert.safetensors")
    with pytest.raises(BlipError) as caught:
        start_text(model, path)
    message = str(caught.value)
    assert "lacks bert.encoder.layer.1.attention.self.key.bias" in message
    assert "has unexpected keys: bert.encoder.layer.0.crossattention.self.query.bias" in message
    assert "bert.encoder.layer.0.output.dense.bias (17,) instead of (16,)" in message
    assert "has tied tensors that differ: cls.predictions.decoder.weight" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 32}, "width is 16, but that of model.text is 32"),
        ({"depth": 3}, "depth is 2, but that of model.text is 3"),
        ({"mlp_width": 64}, "mlp_width is 32, but that of model.text is 64"),
        ({"positions": 24}, "positions is 32, but that of model.text is 24"),
        ({"heads": 4}, "heads is 2, but that of model.text is 4"),
        ({"vocabulary_size": 37}, "has 38 tokens, but model.text.vocabulary_size is 37"),
        ({"vocabulary_size": 41}, "has 38 tokens, but model.text.vocabulary_size is 41"),
    ],
)
def test_sizes_of_the_text_transformer_must_agree(
    tmp_path: Path, change: dict, message: str
) -> None:
    model = Blip(replace(TINY, text=replace(TINY.text, **change)))
    saved(state_of(bert()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(bert_config().to_dict()))
    with pytest.raises(UsageError, match=message) as caught:
        start_text(model, tmp_path)
    assert str(caught.value).startswith(f"text_weights {tmp_path / 'model.safetensors'}: ")
    assert len(str(caught.value).splitlines()) == 1
