"""Graphs give the numbers of the model in torch, whatever it shares and whatever lengths come."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import onnx
import pytest
import torch

from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError
from blip.export.check import TOLERANCE, compare, refuse_difference
from blip.export.exported import ExportedModel
from blip.export.write import export_onnx
from blip.inference.checkpoint import load_model, save_model
from blip.model.blip import Blip
from blip.model.config import Sharing
from blip.nn.kernels.switch import kernels
from blip.nn.mode import BOTH_MODES, Mode
from tests.support.exported_models import Exported
from tests.support.tiny import TINY, tiny_texts
from tests.support.tiny_data import SENTENCE


def export(place: Path, sharing: Sharing, modes: tuple[Mode, ...] = BOTH_MODES) -> ExportedModel:
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=60)
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    model = Blip(replace(TINY, text=text, sharing=sharing, modes=modes)).eval()
    (place / "checkpoint").mkdir()
    save_model(model, tokenizer, place / "checkpoint")
    # It compares each graph with the model, and raises where they differ.
    export_onnx(place / "checkpoint", place / "out")
    return ExportedModel.load(place / "out")


@pytest.mark.parametrize("sharing", get_args(Sharing))
def test_every_graph_of_every_sharing(sharing: Sharing, tmp_path: Path) -> None:
    found = export(tmp_path, sharing)
    separate = sharing in ("nothing", "all_but_cross_attention")
    expected = {"image_encoder", "image_features", "text_encoder", "image_kv", "matching"}
    expected |= {"decoder"} | ({"image_kv_decoder"} if separate else set())
    assert set(found.manifest.graphs) == expected
    assert {path.stem for path in (tmp_path / "out").glob("*.onnx")} == expected


@pytest.mark.parametrize("mode", BOTH_MODES)
def test_half_a_model(mode: Mode, tmp_path: Path) -> None:
    found = export(tmp_path, "all_but_self_attention", (mode,))
    assert ("decoder" in found.manifest.graphs) == (mode == "causal")
    assert ("matching" in found.manifest.graphs) == (mode == "bidirectional")


def test_every_graph_is_valid(exported: Exported) -> None:
    paths = list(exported.folder.glob("*.onnx"))
    assert len(paths) == 6
    for path in paths:
        onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.parametrize(("images", "texts", "length"), [(1, 1, 1), (3, 1, 7), (2, 4, 3)])
@torch.inference_mode()
def test_any_number_of_images_texts_and_tokens(
    images: int, texts: int, length: int, exported: Exported
) -> None:
    found, model = ExportedModel.load(exported.folder), load_model(exported.checkpoint).model
    torch.manual_seed(images)
    pixels = torch.randn(images, 3, 32, 32)
    ids, visible = tiny_texts(images * texts, max(length, 3))
    ids, visible = ids[:, :length], visible[:, :length]
    with kernels(False):
        states = model.encode_image(pixels)
        kv = model.project_image(states, "bidirectional")
        pairs = [
            (found.encode_pixels(pixels), states),
            (found.text_features(ids, visible), model.text_features(ids, visible)),
            (found.match_logits(ids, visible, kv), model.match_logits(ids, visible, kv)),
        ]
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_videos_have_the_states_and_features_of_all_frames(exported: Exported) -> None:
    found, model = ExportedModel.load(exported.folder), load_model(exported.checkpoint).model
    pixels = torch.ones(2, 3, 3, 32, 32).cumsum(1)
    states = model.encode_video(pixels)
    torch.testing.assert_close(found.encode_pixels(pixels), states, atol=1e-5, rtol=1e-4)
    features = found.image_features(states)
    torch.testing.assert_close(features, model.image_features(states), atol=1e-5, rtol=1e-4)


def test_a_graph_that_differs_is_refused(exported: Exported) -> None:
    found, model = ExportedModel.load(exported.folder), load_model(exported.checkpoint).model
    assert max(compare(found, model).values()) < TOLERANCE
    with torch.no_grad():
        model.text.text_layers()[0].mlp.select("causal").output.bias[0] += 1
        model.matching_head.bias += torch.nan
    differences = compare(found, model)
    assert differences["image_encoder"] < TOLERANCE
    assert differences["decoder"] > TOLERANCE
    with pytest.raises(BlipError, match=r"^the graph matching differs from the model by inf, more"):
        refuse_difference(differences)
