"""`blip bootstrap flickr8k` with weights: sizes from the files, what is typed wins, refusals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blip.cli.from_weights import read_bootstrap
from blip.errors import UsageError
from blip.model.blip import Blip
from blip.model.checkpoint.initial import start_text, start_vision
from blip.recipes import bootstrap, from_weights
from tests.support.initial_weights import bert, saved, timm_layout, vit

HEADS = ["--model.vision.heads", "3"]
"""Of a ViT that is too narrow for heads of 64."""


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """A ViT of 24, with 2 layers and patches of 16, and a BERT, its config.json beside."""
    model = bert()
    folder = tmp_path / "bert"
    folder.mkdir()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    heads = {"num_attention_heads": model.config.num_attention_heads}
    (folder / "config.json").write_text(json.dumps(heads), encoding="utf-8")
    images = saved(timm_layout(vit()), tmp_path / "vit.safetensors")
    texts = saved(state, folder / "model.safetensors")
    return ["--vision_weights", str(images), "--text-weights", str(texts)]


def test_a_model_of_the_sizes_starts_from_the_files(places: list[str]) -> None:
    config = read_bootstrap("flickr8k", [*places, *HEADS])
    vision, text, theirs = config.model.vision, config.model.text, bert().config
    assert (vision.width, vision.depth, vision.patch_size, vision.heads) == (24, 2, 16, 3)
    assert (text.width, text.depth) == (theirs.hidden_size, theirs.num_hidden_layers)
    assert text.heads == theirs.num_attention_heads
    # The recipe's 84 pixels are no multiple of the patch size.
    assert vision.image_size == config.image.size == 80
    model = Blip(replace(config.model, text=replace(text, vocabulary_size=theirs.vocab_size)))
    start_vision(model, places[1])
    start_text(model, places[3])


def test_what_is_typed_comes_after_the_sizes(places: list[str]) -> None:
    typed = ["--model.vision.depth", "1", "--batch_size", "7", "--contrastive.momentum", "0.9"]
    config = read_bootstrap("flickr8k", [*places, *HEADS, *typed])
    assert config.model.vision.depth == 1
    assert (config.batch_size, config.contrastive.momentum) == (7, 0.9)
    assert config.weights_lr_scale == 0.25


def test_layers_of_a_deep_vit_are_left_out(places: list[str], monkeypatch) -> None:
    recipe = from_weights.flickr8k

    def shallow(*given):
        config = recipe(*given)
        vision = replace(config.model.vision, depth=1)
        return replace(config, model=replace(config.model, vision=vision))

    monkeypatch.setitem(from_weights.RECIPES, "flickr8k", shallow)
    assert read_bootstrap("flickr8k", [*places, *HEADS]).model.vision.depth == 1


def test_one_of_the_two_may_be_named(places: list[str]) -> None:
    config = read_bootstrap("flickr8k", places[2:])
    assert config.model.vision == from_weights.flickr8k(None, "x").model.vision
    assert config.model.text.width == bert().config.hidden_size


def test_without_weights_the_recipe_is_the_plain_one() -> None:
    assert read_bootstrap("flickr8k", ["--vision_weights", "none"]) == bootstrap.flickr8k()
    assert read_bootstrap("flickr8k", []) == bootstrap.flickr8k()


def test_a_recipe_without_another_form_keeps_its_sizes(places: list[str]) -> None:
    config = read_bootstrap("scenes_test", places)
    assert config.model == bootstrap.scenes_test().model
    assert config.vision_weights == places[1]


def test_refusals_say_what_is_wrong_and_what_would_do(places: list[str], tmp_path: Path) -> None:
    vision, text = places[1], places[3]

    def refused(*words: str) -> str:
        with pytest.raises(UsageError) as error:
            read_bootstrap("flickr8k", words)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert refused(*places) == (
        f"vision_weights {vision}: its width 24 is not a multiple of 64, so that the number of "
        "heads is unknown; give --model.vision.heads"
    )
    assert refused(*places, "--model.vision.heads", "5").startswith(f"vision_weights {vision}: ")
    swapped = refused("--vision_weights", text, "--text_weights", vision)
    assert swapped == f"vision_weights {text} is not a ViT in timm's layout: it has no cls_token"
    swapped = refused("--text_weights", vision)
    assert swapped.startswith(f"text_weights {vision} is not a BERT in Hugging Face's layout")
    Path(text).with_name("config.json").unlink()
    assert refused(*places[2:]).endswith("beside it, or give --model.text.heads")
    for key in ("vision_weights", "text_weights"):
        absent = refused(f"--{key}", str(tmp_path / "absent.pth"))
        assert absent.startswith(f"{key}: no checkpoint at {tmp_path}")
