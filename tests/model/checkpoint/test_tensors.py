"""Weights as other programs save them: wrapped, sharded, in half precision, broken."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from blip.errors import BlipError, UsageError
from blip.model.checkpoint.contents import Contents, published_contents, read_contents
from blip.model.checkpoint.huggingface import SpecialIds
from blip.model.checkpoint.initial import start_text, start_vision
from blip.model.checkpoint.locate import find_weights
from blip.model.checkpoint.sizes import Heads
from blip.model.checkpoint.tensors import plain_names, read_tensors
from blip.model.checkpoint.written import (
    huggingface_state,
    original_state,
    write_huggingface,
    write_original,
    write_ours,
)
from blip.model.make import make_model
from tests.support.tiny import TINY, tiny_model

CAPTIONER = replace(TINY, modes=("causal",))
HEADS = Heads(TINY.vision.heads, TINY.text.heads)
IDS = SpecialIds(dec=38, sep=2, pad=0)
State = dict[str, Tensor]


def contents() -> Contents:
    torch.manual_seed(0)
    return Contents(CAPTIONER, make_model(CAPTIONER).state_dict())


def original() -> State:
    return original_state(contents())


def same(one: Contents, other: Contents) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors
    )


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.module._orig_mod.",
        "_fsdp_wrapped_module.",
        # The attribute of a Lightning module may have any name.
        "captioner.net.",
    ],
)
@pytest.mark.parametrize("container", ["model", "state_dict", "model_state_dict", "module", None])
def test_what_wrappers_put_before_all_names_is_taken_off(
    prefix: str, container: str | None, tmp_path: Path
) -> None:
    state = prefixed(original(), prefix)
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "model.pth")
    assert same(read_contents(tmp_path / "model.pth", HEADS), contents())


def test_what_compilers_put_into_names_is_taken_out() -> None:
    state = {
        name.replace("visual_encoder.", "visual_encoder._orig_mod.").replace(
            ".layer.0.", ".layer.0._checkpoint_wrapped_module."
        ): tensor
        for name, tensor in original().items()
    }
    assert plain_names(state).keys() == original().keys()


@pytest.mark.parametrize(
    "names", [[], ["weight"], ["a.b", "a.c"], ["x.vision.y", "z"], [".", ".."]]
)
def test_names_of_other_models_stay_as_they_are(names: list[str]) -> None:
    state = dict.fromkeys(names, torch.zeros(1))
    assert plain_names(state) == state


def test_a_prefix_that_not_all_names_have_is_named(tmp_path: Path) -> None:
    state = prefixed(original(), "model.") | {"loss.weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    with pytest.raises(UsageError, match=r"found loss, model; the names that begin with model are"):
        read_contents(tmp_path / "model.ckpt", HEADS)


def test_a_lightning_checkpoint_is_read(tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        "global_step": 900,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed(original(), "model."),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.ones(())}},
        "optimizer_states": [{"state": {0: {"step": torch.ones(())}}, "param_groups": []}],
        "lr_schedulers": [],
        "hyper_parameters": {"learning_rate": 1e-5},
    }
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    assert find_weights(path) == path
    assert same(read_contents(path, HEADS), contents())


class Settings:
    """An object that a trainer keeps beside the weights."""


def test_objects_beside_the_weights_are_named_and_not_made(tmp_path: Path) -> None:
    torch.save({"state_dict": original(), "hyper_parameters": Settings()}, tmp_path / "last.ckpt")
    with pytest.raises(
        BlipError, match=r"an object of \S*Settings, .*nothing was executed"
    ) as caught:
        read_contents(tmp_path / "last.ckpt", HEADS)
    assert "\n" not in str(caught.value)


def test_a_dictionary_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, object] = {}
    content["model"] = content
    torch.save(content, tmp_path / "loop.pth")
    with pytest.raises(BlipError, match="other objects than tensors: model"):
        read_contents(tmp_path / "loop.pth")


def test_our_names_in_a_wrapped_pickle_need_the_config_beside_them(tmp_path: Path) -> None:
    write_ours(contents(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"state_dict": prefixed(dict(contents().tensors), "net.")}, tmp_path / "a.ckpt")
    assert same(read_contents(tmp_path / "a.ckpt"), contents())
    (tmp_path / "config.json").unlink()
    with pytest.raises(UsageError, match=r"a\.ckpt needs its config\.json, which holds its sizes"):
        read_contents(tmp_path / "a.ckpt")


# Several files and their index.


def write_parts(state: State, folder: Path, kind: str) -> Path:
    """The tensors in three files and the index of these, as transformers writes large models."""
    stem = {"safetensors": "model", "bin": "pytorch_model"}[kind]
    file_of = {}
    for number in range(3):
        part = {name: state[name].clone() for name in sorted(state)[number::3]}
        path = folder / f"{stem}-{number + 1:05d}-of-00003.{kind}"
        file_of |= dict.fromkeys(part, path.name)
        if kind == "bin":
            torch.save(part, path)
        else:
            save_file(part, path)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": file_of}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_several_files_are_read_by_their_index(kind: str, tmp_path: Path) -> None:
    write_huggingface(contents(), IDS, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    index = write_parts(huggingface_state(contents()), tmp_path, kind)
    assert find_weights(tmp_path) == index == find_weights(index)
    found = read_contents(index)
    assert same(found, contents())
    assert found.config == CAPTIONER


def test_several_files_of_our_layout_are_read(tmp_path: Path) -> None:
    write_ours(contents(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    write_parts(dict(contents().tensors), tmp_path, "safetensors")
    assert same(read_contents(find_weights(tmp_path)), contents())


def test_a_missing_file_of_several_is_named(tmp_path: Path) -> None:
    write_huggingface(contents(), IDS, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    index = write_parts(huggingface_state(contents()), tmp_path, "safetensors")
    second = tmp_path / "model-00002-of-00003.safetensors"
    with pytest.raises(UsageError, match=r"is one of several files; name their folder, or model"):
        read_contents(second)
    save_file({"other": torch.zeros(1)}, second)
    with pytest.raises(
        BlipError, match=r"00002\S+ lacks .* tensors\) which .*not of one checkpoint"
    ):
        read_contents(index)
    second.unlink()
    with pytest.raises(
        BlipError, match=r"names model-00002-of-00003\.safetensors, which is missing"
    ):
        read_contents(index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold an object weight_map"),
        ('{"weight_map": {}}', "must hold an object weight_map"),
        ('{"weight_map": {"a": "../model.safetensors"}}', r"beside it, got '\.\./model"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "beside it, got '/etc/passwd'"),
        ('{"weight_map": {"a": 3}}', "beside it, got 3"),
    ],
)
def test_a_broken_index_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(BlipError, match=message) as caught:
        read_tensors(index)
    assert "\n" not in str(caught.value)


def test_a_folder_without_config_names_the_files_in_it(tmp_path: Path) -> None:
    torch.save(original(), tmp_path / "epoch3.ckpt")
    with pytest.raises(
        UsageError, match=r"is not a checkpoint folder.*name a file: .*epoch3\.ckpt"
    ):
        find_weights(tmp_path)


# Number formats.


def _ours(state: State, folder: Path) -> Path:
    write_ours(contents(), folder)
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def _original(state: State, folder: Path) -> Path:
    torch.save({"model": state}, folder / "model.pth")
    return folder / "model.pth"


def _huggingface(state: State, folder: Path) -> Path:
    write_huggingface(contents(), IDS, folder)
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


LAYOUTS: dict[str, tuple[Callable[[Contents], State], Callable[[State, Path], Path]]] = {
    "ours": (lambda c: dict(c.tensors), _ours),
    "original": (original_state, _original),
    "hf": (huggingface_state, _huggingface),
}


def cast(state: State, dtype: torch.dtype) -> State:
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_stored_formats_become_float32_within_rounding(
    layout: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    state_of, write = LAYOUTS[layout]
    found = read_contents(write(cast(state_of(contents()), dtype), tmp_path), HEADS)
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}
    rounded = cast(cast(dict(contents().tensors), dtype), torch.float32)
    assert all(torch.equal(found.tensors[name], rounded[name]) for name in rounded)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        states, exact = (c.model().encode_image(images) for c in (found, contents()))
    torch.testing.assert_close(states, exact, atol=0.05, rtol=0)
    assert torch.equal(states, exact) == (dtype == torch.float64)


def test_tied_tensors_are_copied_once(tmp_path: Path) -> None:
    found = read_tensors(_original(original(), tmp_path)).tensors
    tied = "text_decoder.bert.embeddings.word_embeddings.weight"
    again = "text_decoder.cls.predictions.decoder.weight"
    assert found[tied].data_ptr() == found[again].data_ptr()


def test_a_file_that_is_overwritten_later_changes_nothing(tmp_path: Path) -> None:
    for layout, (state_of, write) in LAYOUTS.items():
        (tmp_path / layout).mkdir()
        path = write({n: t.clone() for n, t in state_of(contents()).items()}, tmp_path / layout)
        found = read_contents(path, HEADS)
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(b"\xff" * size)
        assert same(found, contents()), layout


# Weights that are no numbers.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_that_are_not_finite_are_named(layout: str, value: float, tmp_path: Path) -> None:
    state_of, write = LAYOUTS[layout]
    state = {name: tensor.clone() for name, tensor in state_of(contents()).items()}
    name = next(n for n in state if "norm" in n and n.endswith("bias"))
    state[name][2] = value
    path = write(state, tmp_path)
    with pytest.raises(BlipError, match="NaN or infinite weights in") as caught:
        read_contents(path, HEADS)
    assert f"{path} has NaN or infinite weights in {name} (1 of 24 values)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_in_half_precision_that_are_not_finite_are_named(tmp_path: Path) -> None:
    state = cast(original(), torch.float16)
    state["visual_encoder.norm.bias"][:] = 1e5
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(BlipError, match=r"visual_encoder\.norm\.bias \(24 of 24 values\)"):
        read_contents(tmp_path / "model.pth", HEADS)


def test_many_broken_tensors_are_counted_and_large_ones_are_sound(tmp_path: Path) -> None:
    state = {name: torch.full_like(tensor, 3e38) for name, tensor in contents().tensors.items()}
    path = _ours(state, tmp_path)
    assert len(read_tensors(path).tensors) == len(state), "their sums overflow, they do not"
    save_file({n: t * torch.nan for n, t in state.items()}, path)
    with pytest.raises(BlipError, match=rf" and {len(state) - 4} more; its training diverged"):
        read_tensors(path)


def test_initial_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = tmp_path / "broken.safetensors"
    for start, name in (
        (start_vision, "blocks.0.norm1.weight"),
        (start_text, "bert.encoder.layer.0.output.dense.weight"),
    ):
        save_file({name: torch.tensor([1.0, torch.nan])}, path)
        with pytest.raises(BlipError, match=rf"weights in {name} \(1 of 2 values\)"):
            start(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_momentum_encoders_are_checked_where_they_are_asked_for(tmp_path: Path) -> None:
    sizes = replace(TINY, modes=("bidirectional",))
    tensors = make_model(sizes).state_dict()
    parts = ("vision.", "text.", "image_projection", "text_projection")
    momentum = {n: t.clone() for n, t in tensors.items() if n.startswith(parts)}
    momentum["vision.norm.bias"][3] = torch.nan
    state = original_state(Contents(sizes, tensors, momentum=momentum))
    path = tmp_path / "model.pth"
    torch.save({"model": prefixed(state, "module.")}, path)
    assert same(read_contents(path, HEADS), Contents(sizes, tensors))
    named = r"module\.visual_encoder_m\.norm\.bias \(1 of 24 values\)"
    with pytest.raises(BlipError, match=named):
        read_contents(path, HEADS, momentum=True)


def test_a_wrapped_vit_starts_an_image_encoder(tmp_path: Path) -> None:
    state = {
        name.removeprefix("visual_encoder."): tensor
        for name, tensor in original().items()
        if name.startswith("visual_encoder.")
    }
    torch.save({"model": prefixed(state, "module.")}, tmp_path / "vit.pth")
    model = tiny_model(seed=1)
    start_vision(model, tmp_path / "vit.pth")
    assert torch.equal(model.state_dict()["vision.norm.bias"], state["norm.bias"])


def test_what_is_written_in_float32_is_what_was_read_in_half(tmp_path: Path) -> None:
    path = _original(cast(original(), torch.bfloat16), tmp_path)
    found = read_contents(path, HEADS)
    write_original(found, tmp_path / "again.pth")
    assert same(read_contents(tmp_path / "again.pth"), found)
    assert same(published_contents(original_state(found), "here", heads=HEADS), found)
