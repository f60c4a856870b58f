"""The MED: parameter counts of the paper, structural sharing, grouped texts, unseen padding."""

from dataclasses import replace

import pytest
import torch

from blip.model.blip import Blip
from blip.model.config import ModelConfig, Sharing, TextConfig, VisionConfig
from tests.support.tiny import TINY, tiny_model, tiny_texts

SHARINGS: list[tuple[Sharing, int]] = [
    ("all", 224),
    ("all_but_cross_attention", 252),
    ("all_but_self_attention", 252),
    ("nothing", 361),
]


@pytest.mark.parametrize(("sharing", "millions"), SHARINGS)
def test_base_size_has_the_papers_parameter_count(sharing: Sharing, millions: int) -> None:
    with torch.device("meta"):
        model = Blip(replace(ModelConfig(), sharing=sharing))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions


def test_large_size_can_be_described() -> None:
    vision = VisionConfig(width=1024, depth=24, heads=16, drop_path=0.1)
    with torch.device("meta"):
        model = Blip(ModelConfig(vision=vision))
    assert sum(p.numel() for p in model.vision.parameters()) == pytest.approx(303e6, rel=0.01)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    # The public methods check shapes by their types in tests, before the model does.
    with pytest.raises(ValueError, match=r"images must be \(batch, 3, height, width\), got"):
        tiny_model().vision._embed(torch.randn(shape))


@pytest.mark.parametrize("sharing", [sharing for sharing, _ in SHARINGS])
def test_every_parameter_learns_from_the_three_passes(sharing: Sharing) -> None:
    model = tiny_model(sharing)
    ids, visible = tiny_texts(3)
    states = model.encode_image(torch.randn(3, 3, 32, 32))
    encoder_memory = model.project_image(states, "bidirectional")
    decoder_memory = model.project_image(states, "causal")
    features = model.image_features(states) @ model.text_features(ids, visible).T
    loss = (
        (features / model.temperature).log_softmax(1).diagonal().sum()
        + model.match_logits(ids, visible, encoder_memory)[:, 1].sum()
        + model.language_logits(ids, visible, decoder_memory).log_softmax(-1)[..., 3].sum()
    )
    loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # Keys' biases shift all scores of a softmax alike: their true gradient is zero.
    assert not silent, silent


def test_shared_parts_are_one_tensor_under_one_name() -> None:
    model = tiny_model()
    layer = model.text.layers[0]
    assert layer.cross_attention.select("causal") is layer.cross_attention.select("bidirectional")
    assert layer.mlp.select("causal") is layer.mlp.select("bidirectional")
    assert layer.self_attention.select("causal") is not layer.self_attention.select("bidirectional")
    tensors = [p.data_ptr() for p in model.state_dict().values()]
    assert len(tensors) == len(set(tensors))


def test_shared_cross_attention_gives_one_projection_for_both_modes() -> None:
    model = tiny_model()
    assert model.shares_cross_attention
    states = model.encode_image(torch.randn(2, 3, 32, 32))
    one, other = model.project_image(states, "bidirectional"), model.project_image(states, "causal")
    for a, b in zip(one.keys + one.values, other.keys + other.values, strict=True):
        assert torch.equal(a, b)
    assert not tiny_model("nothing").shares_cross_attention


@torch.no_grad()
def test_texts_of_one_image_are_judged_as_if_alone() -> None:
    model = tiny_model()
    ids, visible = tiny_texts(6)
    image_kv = model.project_image(model.encode_image(torch.randn(2, 3, 32, 32)), "bidirectional")
    grouped = model.match_logits(ids, visible, image_kv)
    for row in range(6):
        length = int(visible[row].sum())
        alone = model.match_logits(
            ids[row : row + 1, :length],
            visible[row : row + 1, :length],
            image_kv.select(torch.tensor([row // 3])),
        )
        torch.testing.assert_close(grouped[row : row + 1], alone)


@torch.no_grad()
def test_padding_and_later_tokens_are_never_seen() -> None:
    model = tiny_model()
    ids, visible = tiny_texts(4)
    image_kv = model.project_image(model.encode_image(torch.randn(4, 3, 32, 32)), "causal")
    changed = ids.masked_fill(~visible, 9)
    torch.testing.assert_close(
        model.language_logits(ids, visible, image_kv)[visible],
        model.language_logits(changed, visible, image_kv)[visible],
    )
    torch.testing.assert_close(
        model.encode_text(ids, visible)[visible], model.encode_text(changed, visible)[visible]
    )
    later = ids.clone()
    later[:, 4:] = 5
    torch.testing.assert_close(
        model.language_logits(ids, visible, image_kv)[:, :4],
        model.language_logits(later, visible, image_kv)[:, :4],
    )


def test_features_are_unit_vectors_and_the_temperature_keeps_its_range() -> None:
    model = tiny_model()
    features = model.image_features(model.encode_image(torch.randn(3, 3, 32, 32)))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    model.temperature.data.fill_(7.0)
    model.clamp_temperature()
    assert model.temperature.item() == 0.5


def test_wrong_image_size_and_too_long_a_text_are_said() -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="32 x 32 pixels, got 48 x 48"):
        model.encode_image(torch.randn(1, 3, 48, 48))
    with pytest.raises(ValueError, match="40 tokens is longer than this model's 32"):
        model.encode_text(torch.ones(1, 40, dtype=torch.int64), torch.ones(1, 40).bool())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 50}, "`image_size` is 50; allowed: a multiple of patch_size 16"),
        ({"heads": 5}, "`width` is 24; allowed: a multiple of heads 5"),
        (
            {"drop_path": 1.0},
            "`drop_path` is 1.0; allowed: a finite number of at least 0 and below 1",
        ),
        ({"depth": 0}, "`depth` is 0; allowed: a whole number from 1 to 1000"),
    ],
)
def test_impossible_sizes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY.vision, **change)


def test_positions_bound_the_text_config() -> None:
    with pytest.raises(ValueError, match=r"`dropout` is .*; allowed"):
        TextConfig(dropout=1.5)
