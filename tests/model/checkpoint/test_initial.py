"""Fresh models from a ViT: the same states as its, one list of what does not fit; other files."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blip.errors import BlipError, UsageError
from blip.model.blip import Blip
from blip.model.checkpoint.initial import start_text, start_vision
from blip.model.checkpoint.start_sizes import size_vision
from blip.nn.vit import resize_positions
from tests.support.initial_weights import CLOSE, State, saved, state_of, timm_layout, vit
from tests.support.tiny import TINY, tiny_model


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
    assert start_vision(model, path).line.startswith(f"image encoder from {path}")
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
    message = start_vision(model, saved(timm_layout(theirs), tmp_path / "vit.safetensors")).line
    assert message.endswith("positions resized from 2 x 2 to 5 x 5 patches")
    positions = theirs.vit.embeddings.position_embeddings
    assert torch.equal(model.vision.positions, resize_positions(positions, 26))
    images = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        expected = theirs.vit(images, interpolate_pos_encoding=True).last_hidden_state
        torch.testing.assert_close(model.encode_image(images), expected, **CLOSE)


def test_a_model_with_fewer_layers_starts_from_the_first(tmp_path: Path) -> None:
    theirs = vit()
    model = Blip(replace(TINY, vision=replace(TINY.vision, depth=1))).eval()
    path = saved(timm_layout(theirs), tmp_path / "vit.safetensors")
    message = start_vision(model, path).line
    assert message == f"image encoder from {path}, the first 1 of its 2 layers"
    theirs.vit.layers = theirs.vit.layers[:1]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.vit(images).last_hidden_state
        torch.testing.assert_close(model.encode_image(images), expected, **CLOSE)


def test_layer_scale_becomes_part_of_the_projections(tmp_path: Path) -> None:
    """Dividing the projections by what then scales them must change nothing."""
    state, generator = timm_layout(vit()), torch.Generator().manual_seed(0)
    plain, scaled = tiny_model(), tiny_model()
    start_vision(plain, saved(state, tmp_path / "plain.safetensors"))
    for layer in range(2):
        for scale, part in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            gamma = 0.1 + torch.rand(24, generator=generator)
            name = f"blocks.{layer}.{part}"
            state[f"{name}.weight"] = state[f"{name}.weight"] / gamma[:, None]
            state[f"{name}.bias"] = state[f"{name}.bias"] / gamma
            state[f"blocks.{layer}.{scale}.gamma"] = gamma
    start_vision(scaled, saved(state, tmp_path / "scaled.safetensors"))
    for name, tensor in plain.vision.state_dict().items():
        torch.testing.assert_close(scaled.vision.state_dict()[name], tensor, **CLOSE)


@pytest.mark.parametrize("shape", [(23,), (1, 24)])
def test_a_scale_that_fits_no_projection_is_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    state = timm_layout(vit()) | {"blocks.0.ls1.gamma": torch.ones(shape)}
    with pytest.raises(BlipError, match=r"has unexpected keys: blocks\.0\.ls1\.gamma"):
        start_vision(tiny_model(), saved(state, tmp_path / "vit.safetensors"))


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
    state["blocks.0.ls1.gamma"] = torch.zeros(23)
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


@pytest.mark.parametrize(
    ("width", "heads"), [(192, 3), (768, 12), (1024, 16), (1152, 16), (1280, 16), (1536, 24)]
)
def test_heads_are_those_of_the_vits_of_that_width(width: int, heads: int, tmp_path: Path) -> None:
    shapes = {
        "cls_token": (1, 1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "blocks.0.mlp.fc1.weight": (4 * width, 1),
    }
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    path = saved(tensors, tmp_path / "vit.safetensors")
    assert size_vision(TINY.vision, str(path)).heads == heads
    assert size_vision(TINY.vision, str(path), heads=1).heads == 1


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
