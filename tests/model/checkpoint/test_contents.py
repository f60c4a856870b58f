"""Any layout in, our names out; what does not fit is one list, and nothing is executed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from blip.errors import BlipError, UsageError
from blip.model.blip import Blip
from blip.model.checkpoint.contents import Contents, published_contents, read_contents
from blip.model.checkpoint.huggingface import SpecialIds
from blip.model.checkpoint.momentum import momentum_to_original
from blip.model.checkpoint.sizes import Heads
from blip.model.checkpoint.written import (
    huggingface_state,
    original_state,
    write_huggingface,
    write_original,
    write_ours,
)
from blip.model.make import make_model
from blip.model.pair import PairModel
from blip.model.question import QuestionModel
from tests.support.saved_models import save_tiny
from tests.support.tiny import TINY, tiny_model, tiny_texts

CAPTIONER = replace(TINY, modes=("causal",))
MATCHER = replace(TINY, modes=("bidirectional",))
QUESTIONS = replace(TINY, architecture="vqa")
PAIRS = replace(
    TINY, architecture="nlvr", modes=("bidirectional",), text=replace(TINY.text, depth=7)
)
CONFIGS = {"pretrain": TINY, "caption": CAPTIONER, "itm": MATCHER, "vqa": QUESTIONS, "nlvr": PAIRS}
HEADS = Heads(TINY.vision.heads, TINY.text.heads)
IDS = SpecialIds(dec=38, sep=2, pad=0)


def contents(kind: str) -> Contents:
    torch.manual_seed(0)
    return Contents(CONFIGS[kind], make_model(CONFIGS[kind]).state_dict())


def same(one: Contents, other: Contents) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors
    )


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_original_layout_there_and_back(kind: str, tmp_path: Path) -> None:
    before = contents(kind)
    write_original(before, tmp_path / "model.pth")
    after = read_contents(tmp_path / "model.pth")
    assert same(before, after)
    assert (after.config, after.kind) == (before.config, kind)


@pytest.mark.parametrize("kind", CONFIGS)
def test_sizes_are_found_from_shapes_alone(kind: str) -> None:
    found = published_contents(original_state(contents(kind)), "here", heads=HEADS).config
    dropout = CONFIGS[kind].text.dropout
    # What no shape tells has its published value; a captioner has no projection.
    text = replace(found.text, dropout=dropout)
    projection = found.projection if kind in ("pretrain", "itm") else TINY.projection
    assert replace(found, text=text, projection=projection) == CONFIGS[kind]


@pytest.mark.parametrize("kind", ["caption", "itm"])
def test_hugging_faces_layout_there_and_back(kind: str, tmp_path: Path) -> None:
    before = contents(kind)
    write_huggingface(before, IDS, tmp_path)
    after = read_contents(tmp_path / "model.safetensors")
    assert same(before, after)
    assert after.config == before.config


def test_our_folder_keeps_momentum_and_queues(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = contents("itm")
    momentum = {f"{name}": torch.rand_like(t) for name, t in before.tensors.items()}
    dropped = ("matching_head", "temperature")
    momentum = {n: t for n, t in momentum.items() if not n.startswith(dropped)}

    momentum |= {"image_queue": torch.rand(8, 5), "ptr_queue": torch.tensor([3])}
    before = replace(before, momentum=momentum)
    write_ours(before, tmp_path)
    assert not read_contents(tmp_path / "model.safetensors").momentum
    between = read_contents(tmp_path / "model.safetensors", momentum=True)
    assert between.kind == "retrieval"
    after = published_contents(original_state(between), "here", heads=HEADS)
    assert after.momentum.keys() == momentum.keys()
    assert all(torch.equal(after.momentum[name], momentum[name]) for name in momentum)
    names = momentum_to_original(before.config, momentum)
    assert {"visual_encoder_m.cls_token", "vision_proj_m.weight", "ptr_queue"} <= names.keys()


def test_one_half_of_a_med_gives_the_outputs_of_the_whole() -> None:
    med, (ids, visible) = tiny_model(), tiny_texts(4)
    images = torch.randn(2, 3, 32, 32)
    whole = Contents(med.config, med.state_dict())
    captioner, matcher = (whole.for_task(task).model() for task in ("caption", "itm"))
    assert isinstance(captioner, Blip)
    assert isinstance(matcher, Blip)
    with torch.inference_mode():
        states = med.encode_image(images)
        image_kv = med.project_image(states, "causal")
        torch.testing.assert_close(
            captioner.language_logits(ids, visible, image_kv),
            med.language_logits(ids, visible, image_kv),
        )
        torch.testing.assert_close(
            matcher.match_logits(ids, visible, matcher.project_image(states, "bidirectional")),
            med.match_logits(ids, visible, image_kv),
        )
    with pytest.raises(UsageError, match="no text encoder, only a text decoder"):
        captioner.match_logits(ids, visible, image_kv)
    with pytest.raises(UsageError, match="no text decoder, only a text encoder"):
        matcher.project_image(states, "causal")
    with pytest.raises(UsageError, match="a model for vqa, not one for caption"):
        contents("vqa").for_task("caption")


def test_every_kind_is_built_as_what_it_is() -> None:
    built = {kind: type(contents(kind).model()) for kind in CONFIGS}
    expected = {"pretrain": Blip, "caption": Blip, "itm": Blip}
    assert built == expected | {"vqa": QuestionModel, "nlvr": PairModel}


def test_a_trained_temperature_is_kept(tmp_path: Path) -> None:
    before = contents("itm")
    trained = {**before.tensors, "temperature": torch.tensor([0.0123])}
    before = replace(before, tensors=trained)
    write_original(before, tmp_path / "model.pth")
    assert same(before, read_contents(tmp_path / "model.pth"))
    assert before.kind == "retrieval"


def test_parameters_that_shared_memory_in_the_file_are_apart() -> None:
    tensors = dict(contents("vqa").tensors)
    names = [name for name in tensors if name.endswith("words.weight")]
    assert len(names) == 2
    tensors[names[0]] = tensors[names[1]]
    model = replace(contents("vqa"), tensors=tensors).model()
    first, second = (dict(model.named_parameters())[name] for name in names)
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


def test_heads_that_differ_from_the_file_are_refused(tmp_path: Path) -> None:
    write_ours(contents("itm"), tmp_path)
    assert read_contents(tmp_path / "model.safetensors", HEADS).config == MATCHER
    with pytest.raises(UsageError, match="are 3 and 2, got 8 and 8"):
        read_contents(tmp_path / "model.safetensors", Heads(8, 8))


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_tensors_of_a_wrong_type_are_refused(dtype: torch.dtype) -> None:
    state = caption_state()
    state["visual_encoder.norm.bias"] = state["visual_encoder.norm.bias"].to(dtype)
    with pytest.raises(BlipError, match=r"not dense real numbers: visual_encoder\.norm\.bias"):
        published_contents(state, "here", heads=HEADS)


def test_momentum_and_queues_must_fit() -> None:
    matcher = contents("itm")
    encoders = {n: t for n, t in matcher.tensors.items() if n.startswith(("vision.", "text."))}
    encoders |= {n: t for n, t in matcher.tensors.items() if "_projection" in n}
    momentum = encoders | {"image_queue": torch.zeros(8, 5), "text_queue": torch.zeros(8, 5)}
    state = original_state(replace(matcher, momentum=momentum))
    published_contents(state, "here", heads=HEADS)
    state["visual_encoder_m.norm.weight"] = torch.zeros(3)
    state["image_queue"] = torch.zeros(2)
    with pytest.raises(BlipError, match=r"image_queue .* visual_encoder_m\.norm\.weight \(3,\)"):
        published_contents(state, "here", heads=HEADS)


def test_half_precision_becomes_float32() -> None:
    state = {n: t.half() if t.is_floating_point() else t for n, t in caption_state().items()}
    found = published_contents(state, "here", heads=HEADS)
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}


def test_another_image_size_resizes_positions() -> None:
    small = contents("itm").at_image_size(64)
    assert small.tensors["vision.positions"].shape == (1, 17, TINY.vision.width)
    assert small.model().encode_image(torch.randn(1, 3, 64, 64)).shape[1] == 17
    with pytest.raises(
        UsageError, match="`image_size` is 50; allowed: a multiple of patch_size 16"
    ):
        small.at_image_size(50)


def caption_state() -> dict[str, Tensor]:
    return original_state(contents("caption"))


def test_everything_that_does_not_fit_is_in_one_list() -> None:
    state = caption_state()
    del state["visual_encoder.norm.bias"], state["text_decoder.cls.predictions.bias"]
    state["visual_encoder.head.weight"] = torch.zeros(2)
    state["visual_encoder.norm.weight"] = torch.zeros(3)
    tied = "text_decoder.cls.predictions.decoder.weight"
    state[tied] = state[tied] + 1
    state["text_decoder.bert.embeddings.position_ids"] += 1
    with pytest.raises(BlipError) as caught:
        published_contents(state, "model.pth", heads=HEADS)
    message = str(caught.value)
    assert message.startswith("model.pth does not fit:\n")
    for part in (
        "lacks text_decoder.cls.predictions.bias, visual_encoder.norm.bias",
        "unexpected keys: visual_encoder.head.weight",
        "visual_encoder.norm.weight (3,) instead of (24,)",
        f"tied tensors that differ: text_decoder.bert.embeddings.position_ids, {tied}",
    ):
        assert part in message


def test_ties_may_be_left_out() -> None:
    before = contents("caption")
    state = huggingface_state(before)
    assert "text_decoder.cls.predictions.decoder.weight" not in state
    sizes = {"text_config": {"num_attention_heads": 2}, "vision_config": {"num_attention_heads": 3}}
    assert same(before, published_contents(state, "here", sizes=sizes))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"text_config": {"hidden_act": "relu"}, "vision_config": {}}, "hidden_act must be gelu"),
        ({"text_config": {"layer_norm_eps": 1e-5}, "vision_config": {}}, "layer_norm_eps must be"),
        ({"text_config": {}}, "an object vision_config, got None"),
        ({"text_config": {"num_attention_heads": "4"}, "vision_config": {}}, "must be a number"),
        ({"text_config": {}, "vision_config": {"layer_norm_eps": None}}, "must be a number"),
        ({"text_config": {"num_attention_heads": 5}, "vision_config": {}}, "multiple of heads"),
    ],
)
def test_a_foreign_config_is_refused(sizes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        published_contents(huggingface_state(contents("caption")), "here", sizes=sizes)


def test_heads_that_no_file_gives_are_asked_for() -> None:
    with pytest.raises(UsageError, match="a width of 24 is not a multiple of 64; give the heads"):
        published_contents(caption_state(), "here")


def test_choices_of_the_ablation_have_no_published_layout() -> None:
    model = tiny_model("nothing")
    with pytest.raises(UsageError, match="sharing must be all_but_self_attention"):
        original_state(Contents(model.config, model.state_dict()))


@pytest.mark.parametrize("kind", ["pretrain", "nlvr", "vqa"])
def test_transformers_has_not_every_kind(kind: str, tmp_path: Path) -> None:
    message = "equally wide, got 24 and 16" if kind == "vqa" else f"no class for {kind}"
    with pytest.raises(UsageError, match=message):
        write_huggingface(contents(kind), IDS, tmp_path)


class Malicious:
    """Runs a command where a pickle of it is trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    for name, content in {
        "plain.pth": Malicious(tmp_path / "ran"),
        "inside.pth": {"model": {"visual_encoder.cls_token": Malicious(tmp_path / "ran")}},
    }.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(BlipError, match="nothing was executed"):
            read_contents(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.pth", "model.bin", "model.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(name: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / name
    state = caption_state()
    if name.endswith("safetensors"):
        save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    else:
        torch.save({"model": state}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(
        BlipError, match=r"truncated|not a file of PyTorch|cannot be read"
    ) as caught:
        read_contents(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"GIF89a, no weights", b"\x80\x04N.", b"PK\x03\x04 zip?", b"\x00" * 64]
)
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(BlipError, match=r"model\.pth (cannot be read|holds no)"):
        read_contents(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"weight": torch.zeros(2)}}, "not one of BLIP.s; found weight"),
        ({"model": {}}, "holds no tensors"),
        ({"model": {1: torch.zeros(2)}}, "other objects than tensors: 1"),
        ({"model": {"a": torch.zeros(2), "epoch": 3}}, "other objects than tensors: epoch"),
        ([torch.zeros(2)], "holds no named tensors, but list"),
        ({"state_dict": {"visual_encoder.cls_token": torch.zeros(2)}}, "not one of BLIP.s"),
    ],
)
def test_weights_of_another_model_are_refused(
    content: object, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(BlipError, match=message):
        read_contents(tmp_path / "model.pth")


def test_a_broken_config_beside_the_weights_is_refused(tmp_path: Path) -> None:
    write_ours(contents("itm"), tmp_path)
    config = tmp_path / "config.json"
    for content, message in (("{", "is not JSON"), ("[]", "must hold an object, got list")):
        config.write_text(content)
        with pytest.raises(BlipError, match=message):
            read_contents(tmp_path / "model.safetensors")
    sizes = json.loads(json.dumps({"projection": 9}))
    config.write_text(json.dumps(sizes | {"widht": 3}))
    with pytest.raises(BlipError, match="widht"):
        read_contents(tmp_path / "model.safetensors")


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_original(contents("itm"), tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


def test_written_tensors_are_those_of_the_model(tmp_path: Path) -> None:
    before = contents("pretrain")
    write_ours(before, tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == before.tensors.keys()


def test_a_checkpoint_is_loaded_without_the_compiler_of_torch(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    code = (
        "import sys, blip.inference.checkpoint as checkpoint\n"
        f"checkpoint.open_checkpoint({str(folder)!r}).load('cpu')\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
