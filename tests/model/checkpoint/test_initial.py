"""Fresh models from a ViT and a BERT: the same states as theirs, one list of what does not fit."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertLMHeadModel,
    ViTConfig,
    ViTForImageClassification,
)

from blip.errors import BlipError, UsageError
from blip.model.blip import Blip
from blip.model.checkpoint.initial import start_text, start_vision
from blip.model.config import Sharing
from blip.model.make import make_model
from blip.nn.vit import resize_positions
from tests.support.tiny import TINY, tiny_model, tiny_texts

SHARING: list[Sharing] = ["all", "all_but_cross_attention", "all_but_self_attention", "nothing"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
State = dict[str, Tensor]


def randomised(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Nothing that is usually 0 or 1 stays so: a norm or a bias in the wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def vit(image_size: int = 32) -> ViTForImageClassification:
    config = ViTConfig(
        image_size=image_size,
        patch_size=16,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        layer_norm_eps=1e-6,
    )
    model = randomised(ViTForImageClassification(config), seed=1)
    assert isinstance(model, ViTForImageClassification)
    return model


def timm_layout(model: ViTForImageClassification) -> State:
    """What timm, and DeiT's files, call the same tensors; q, k and v lie in one."""
    names = {
        "vit.embeddings.cls_token": "cls_token",
        "vit.embeddings.position_embeddings": "pos_embed",
        "vit.embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "vit.layernorm.": "norm.",
        "classifier.": "head.",
        "vit.layers.": "blocks.",
        ".layernorm_before.": ".norm1.",
        ".layernorm_after.": ".norm2.",
        ".attention.o_proj.": ".attn.proj.",
    }
    state: State = {}
    for name, tensor in model.state_dict().items():
        for theirs, timm in names.items():
            name = name.replace(theirs, timm)
        state[name] = tensor.clone()
    for layer in range(2):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"blocks.{layer}.attention.{p}_proj.{kind}") for p in "qkv"]
            state[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    return state


def bert_config(**changes: int) -> BertConfig:
    sizes = {
        "vocab_size": TINY.text.vocabulary_size - 2,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }
    return BertConfig(**{**sizes, **changes})


def bert(**changes: int) -> BertForPreTraining:
    """With a head for masked words and one for pairs of sentences, as the published one."""
    model = randomised(BertForPreTraining(bert_config(**changes)), seed=2)
    assert isinstance(model, BertForPreTraining)
    return model


def state_of(model: torch.nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def without_types(model: BertForPreTraining) -> BertForPreTraining:
    torch.nn.init.zeros_(model.bert.embeddings.token_type_embeddings.weight)
    return model


def saved(state: State, path: Path) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return path


# The image encoder.


def _as_safetensors(state: State, folder: Path) -> Path:
    return saved(state, folder / "vit.safetensors")


def _as_deit(state: State, folder: Path) -> Path:
    torch.save({"model": state}, folder / "deit.pth")
    return folder / "deit.pth"


def _as_folder(state: State, folder: Path) -> Path:
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16"}')
    return folder


@pytest.mark.parametrize("write", [_as_safetensors, _as_deit, _as_folder])
def test_image_states_are_those_of_the_vit(
    tmp_path: Path, write: Callable[[State, Path], Path]
) -> None:
    theirs, model = vit(), tiny_model()
    before = state_of(model)
    path = write(timm_layout(theirs), tmp_path)
    assert start_vision(model, path).startswith(f"image encoder from {path}")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.vit(images).last_hidden_state
        torch.testing.assert_close(model.encode_image(images), expected, **CLOSE)
    after = state_of(model)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in after if name.startswith("vision.")}


def test_positions_are_resized_as_transformers_does(tmp_path: Path) -> None:
    theirs = vit()
    torch.manual_seed(0)
    model = Blip(replace(TINY, vision=replace(TINY.vision, image_size=80))).eval()
    message = start_vision(model, saved(timm_layout(theirs), tmp_path / "vit.safetensors"))
    assert message.endswith("positions resized from 2 x 2 to 5 x 5 patches")
    positions = theirs.vit.embeddings.position_embeddings
    assert torch.equal(model.vision.positions, resize_positions(positions, 26))
    images = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        expected = theirs.vit(images, interpolate_pos_encoding=True).last_hidden_state
        torch.testing.assert_close(model.encode_image(images), expected, **CLOSE)


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in timm_layout(vit()).items()}
    model = Blip(replace(TINY, vision=replace(TINY.vision, image_size=48)))
    start_vision(model, saved(state, tmp_path / "vit.safetensors"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.vision.norm.weight, state["norm.weight"].float())


def test_a_hub_name_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _as_folder(timm_layout(vit()), tmp_path)
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return tmp_path

    monkeypatch.setattr("blip.model.checkpoint.locate.fetch_huggingface", fetch)
    start_vision(tiny_model(), "hf:timm/vit_tiny_patch16")
    assert asked == ["timm/vit_tiny_patch16"]


def test_what_does_not_fit_is_one_list(tmp_path: Path) -> None:
    state, model = timm_layout(vit()), tiny_model()
    state["dist_token"] = torch.zeros(1, 1, 24)
    state["blocks.0.ls1.gamma"] = torch.zeros(24)
    state["norm.bias"] = torch.zeros(23)
    state["pos_embed"] = torch.zeros(1, 6, 24)
    del state["blocks.1.attn.qkv.bias"]
    before, path = state_of(model), saved(state, tmp_path / "vit.safetensors")
    with pytest.raises(BlipError) as caught:
        start_vision(model, path)
    message = str(caught.value)
    assert message.splitlines()[0] == f"{path} does not fit:"
    assert "lacks blocks.1.attn.qkv.bias" in message
    assert "has unexpected keys: blocks.0.ls1.gamma, dist_token" in message
    assert "norm.bias (23,) instead of (24,)" in message
    assert "pos_embed (1, 6, 24) instead of (1, 5, 24)" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 48}, "width is 24, but that of model.vision is 48"),
        ({"depth": 3}, "depth is 2, but that of model.vision is 3"),
        ({"depth": 1}, "depth is 2, but that of model.vision is 1"),
        ({"patch_size": 8}, "patch_size is 16, but that of model.vision is 8"),
        ({"mlp_ratio": 3.0}, "mlp width is 96, but that of model.vision is 72"),
    ],
)
def test_sizes_of_the_image_encoder_must_agree(tmp_path: Path, change: dict, message: str) -> None:
    model = Blip(replace(TINY, vision=replace(TINY.vision, **change)))
    path = saved(timm_layout(vit()), tmp_path / "vit.safetensors")
    with pytest.raises(UsageError, match=f"^vision_weights {path}: .*{message}") as caught:
        start_vision(model, path)
    assert len(str(caught.value).splitlines()) == 1


# The text transformer.


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
    message = start_text(model, path)
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
    message = start_text(model, saved(state_of(bert()), tmp_path / "bert.safetensors"))
    assert message.endswith("newly initialised: cross-attention, 2 rows of the vocabulary")


def test_a_vocabulary_of_the_same_size_has_no_fresh_row(tmp_path: Path) -> None:
    model, theirs = tiny_model(), bert(vocab_size=40)
    message = start_text(model, saved(state_of(theirs), tmp_path / "bert.safetensors"))
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


# Files that are something else.


@pytest.mark.parametrize("start", [start_vision, start_text])
def test_foreign_and_truncated_files_are_refused(
    tmp_path: Path, start: Callable[[Blip, Path], str]
) -> None:
    model = tiny_model()
    other = saved({"some.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(BlipError, match=r"has unexpected keys: .*some\.weight"):
        start(model, other)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(other.read_bytes()[:-5])
    with pytest.raises(BlipError, match="truncated or not a safetensors file"):
        start(model, torn)
    with pytest.raises(UsageError, match="no checkpoint at"):
        start(model, tmp_path / "absent.pth")
    whole = saved({"norm.weight": torch.zeros(24, dtype=torch.int32)}, tmp_path / "w.safetensors")
    with pytest.raises(BlipError, match="does not fit"):
        start(model, whole)


class _Runs:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"cls_token": _Runs()}}, tmp_path / "bad.pth")
    with pytest.raises(BlipError, match="nothing was executed"):
        start_vision(tiny_model(), tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


def test_integer_tensors_are_refused_as_weights(tmp_path: Path) -> None:
    state = {name: tensor.to(torch.int8) for name, tensor in timm_layout(vit()).items()}
    with pytest.raises(BlipError, match=r"not dense real numbers: blocks\.0\.\S+ \(int8\)"):
        start_vision(tiny_model(), saved(state, tmp_path / "vit.safetensors"))
