"""Every kind of released checkpoint, base and large: there and back is the identity."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from blip.inference.checkpoint import open_contents
from blip.model.checkpoint.contents import Contents, published_contents
from blip.model.checkpoint.written import huggingface_state, original_state
from tests.support.huggingface import random_peer
from tests.support.vectors import FOLDER, HEADS, needs_vectors, weights

KINDS = ("pretrain", "retrieval", "itm", "captioner", "vqa", "nlvr")
INTEGERS = ("position_ids", "queue_ptr", "ptr_queue", "idx_queue")


@pytest.fixture(autouse=True)
def patterns_stay_small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is written to a file, which alone needs elements one behind another."""
    monkeypatch.setattr(Tensor, "contiguous", lambda tensor: tensor)
    yield
    pattern.cache_clear()


@cache
def pattern(shape: tuple[int, ...], seed: int) -> Tensor:
    """A tensor of that shape whose rows differ and which takes no memory."""
    if not shape:
        return torch.tensor(float(seed))
    column = torch.arange(shape[0], dtype=torch.float32).mul_(1e-3).add_(seed)
    return column.view(-1, *[1] * (len(shape) - 1)).expand(shape)


def published_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of these shapes; tied ones are the same, as in the release."""
    pretrain = "text_decoder.cls.predictions.bias" in shapes and "itm_head.weight" in shapes
    names: dict[str, str] = {}
    for name in shapes:
        same = name
        if pretrain and ".attention." not in name:
            same = same.replace("text_decoder.bert.", "text_encoder.")
        stack = "text_encoder" if pretrain else "text_decoder.bert"
        same = same.replace(
            "text_decoder.cls.predictions.decoder.weight",
            f"{stack}.embeddings.word_embeddings.weight",
        ).replace("predictions.decoder.bias", "predictions.bias")
        names[name] = same
    seeds = {same: number for number, same in enumerate(sorted(set(names.values())))}
    state = {}
    for name, shape in shapes.items():
        tensor = pattern(shape, seeds[names[name]])
        if name.endswith("position_ids"):
            tensor = torch.arange(shape[-1])[None]
        elif name.endswith(INTEGERS):
            tensor = tensor.long()
        state[name] = tensor
    return state


def assert_same(after: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype, name
        assert after[name].shape == tensor.shape, name
        both = [after[name], tensor]
        # The rows of `pattern` are one number each, which lies in memory once.
        if tensor.ndim > 1 and not any(step for one in both for step in one.stride()[1:]):
            both = [one[(slice(None), *[0] * (one.ndim - 1))] for one in both]
        assert torch.equal(*both), name


@needs_vectors
@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("kind", KINDS)
def test_released_tensors_there_and_back(kind: str, size: str) -> None:
    path = FOLDER / "keys" / f"{kind}_{size}.json"
    shapes = {name: tuple(shape) for name, shape in json.loads(path.read_text()).items()}
    before = published_state(shapes)
    found = published_contents(before, path.name)
    assert_same(original_state(found), before)
    assert found.config.vision.width == {"base": 768, "large": 1024}[size]
    assert found.config.vision.heads == {"base": 12, "large": 16}[size]
    assert found.config.text.heads == 12
    assert (found.kind == "caption") == (kind == "captioner")


@needs_vectors
@pytest.mark.parametrize("kind", KINDS)
def test_golden_checkpoints_there_and_back(kind: str) -> None:
    found, _ = open_contents(FOLDER / f"{kind}.pth", heads=HEADS)
    assert_same(original_state(found), weights(kind))


@pytest.fixture(params=["caption", "itm", "vqa"])
def huggingface(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, {"text_config": {"num_attention_heads": 12}, "vision_config": {}}


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_hugging_faces_tensors_there_and_back(huggingface: tuple, large: bool) -> None:
    kind, sizes = huggingface
    wide = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    if large:
        sizes["vision_config"] = {**wide, "num_attention_heads": 16}
        if kind == "vqa":
            pytest.skip("transformers reads no VQA model whose images are wider than its texts")
    shapes = random_peer(kind, sizes, draw=False).state_dict()
    tied = [name for name in shapes if ".predictions.decoder." in name]
    before = {
        name: pattern(tuple(tensor.shape), number)
        for number, (name, tensor) in enumerate(shapes.items())
        if name not in tied
    }
    found = published_contents(before, kind, sizes=sizes)
    assert_same(huggingface_state(found), before)
    assert found.config.vision.norm_eps == 1e-5


@needs_vectors
def test_one_layout_to_the_other() -> None:
    """Original to Hugging Face and back: the only difference is the norm's eps."""
    golden, _ = open_contents(FOLDER / "captioner.pth", heads=HEADS)
    heads = {"num_attention_heads": HEADS.text}
    vision = {**heads, "layer_norm_eps": 1e-6}
    sizes = {"text_config": heads, "vision_config": vision, "image_text_hidden_size": 256}
    again = published_contents(huggingface_state(golden), "here", sizes=sizes)
    assert_same(original_state(again), original_state(golden))
    text = replace(golden.config.text, dropout=0.0)
    assert again.config == replace(golden.config, text=text)
    assert isinstance(again, Contents)
