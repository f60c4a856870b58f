"""Captions are true, short, varied and name every object."""

import re

from hypothesis import given

from blip.data.scenes.check import check_facts
from blip.data.scenes.claims import parse
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.language import HUMAN_FRAMES, WEB_FRAMES, caption, captions
from blip.data.scenes.scene import Scene, draw_scene
from tests.support.scenes import CONFIGS, SEEDS, scene_of, source, thing


@given(config=CONFIGS, seed=SEEDS)
def test_every_caption_is_true_and_names_all(config: ScenesConfig, seed: int) -> None:
    rng = source(seed)
    scene = draw_scene(config, rng)
    for frames in (HUMAN_FRAMES, WEB_FRAMES):
        text = caption(scene, rng, frames)
        assert check_facts(text, scene).correct, text
        assert len(text.split()) <= 24, text
        claims = parse(text)
        assert claims is not None
        said = [(claim.shape, claim.colour) for claim in claims.things]
        shown = [(thing.shape, thing.colour) for thing in scene.things]
        if scene.is_group:
            assert [(claim.count) for claim in claims.things] == [len(scene.things)]
            assert said == shown[:1]
        else:
            assert sorted(said) == sorted(shown)


@given(seed=SEEDS)
def test_articles_and_numbers_agree(seed: int) -> None:
    for text in captions(scene_of(seed), 5, source(seed)):
        assert not re.search(r"\ba [aeio]", text), text
        assert not re.search(r"\ban [^aeio]", text), text
        assert ("there are" in text) <= bool(re.search(r"\b(two|three|four)\b", text)), text


def test_captions_differ() -> None:
    pair = Scene("pink", (thing("star", "red", 0.25), thing("ring", "blue", 0.75)))
    assert len(set(captions(pair, 5, source(0)))) == 5
    many = set(captions(pair, 300, source(1)))
    assert len(many) > 100
    words = {word for text in many for word in text.split()}
    assert {"left", "right", "pink", "large", "big", "and", "there", "picture"} <= words


def test_the_same_seed_says_the_same() -> None:
    scene = scene_of(3)
    assert captions(scene, 5, source(9)) == captions(scene, 5, source(9))
