"""Statements on two images are true or false as they say."""

import itertools
import re

import pytest

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene
from blip.data.scenes.statements import statement
from tests.support.scenes import scene_of, source, thing

CONFIG = ScenesConfig()
LEFT = Scene("grey", (thing("star", "red", 0.25), thing("ring", "blue", 0.75)))
RIGHT = Scene("pink", (thing("star", "red"),))
EXPECTED = {
    "there is a red star in both images": True,
    "exactly one of the images shows a red star": False,
    "exactly one of the images shows a blue ring": True,
    "there is a blue ring in both images": False,
    "there is a blue ring in at least one image": True,
    "neither image shows a blue ring": False,
    "the left image shows more things than the right image": True,
    "the right image shows more things than the left image": False,
    "both images show the same number of things": False,
    "there are two stars in all": True,
    "there are three stars in all": False,
    "there is one star in all": False,
    "there is one ring in all": True,
    "both images have the same background": False,
    "the images have different backgrounds": True,
    "both images have a pink background": False,
    "only the left image has a grey background": True,
}


def test_truth_of_known_statements() -> None:
    made = [statement(LEFT, RIGHT, CONFIG, source(seed)) for seed in range(1500)]
    seen = {one.text: one.truth for one in made}
    assert EXPECTED.items() <= seen.items()


def test_captions_are_judged_against_the_image_they_are_said_of() -> None:
    made = {statement(LEFT, RIGHT, CONFIG, source(seed)) for seed in range(600)}
    of_ring = [one for one in made if re.search("right image shows a.*ring", one.text)]
    assert of_ring
    assert not any(one.truth for one in of_ring)
    of_left = [one for one in made if re.search("left image shows a.*red star$", one.text)]
    assert any(one.truth for one in of_left)


def test_half_are_true() -> None:
    scenes = [scene_of(seed) for seed in range(401)]
    made = [
        statement(left, right, CONFIG, source(seed))
        for seed, (left, right) in enumerate(itertools.pairwise(scenes))
    ]
    assert sum(one.truth for one in made) / len(made) == pytest.approx(0.5, abs=0.08)
    # No form of words gives the answer away.
    for opening in ("there", "the left", "the right", "both", "exactly", "neither"):
        truths = [one.truth for one in made if one.text.startswith(opening)]
        assert {True, False} == set(truths), opening


def test_the_same_seed_says_the_same() -> None:
    assert statement(LEFT, RIGHT, CONFIG, source(3)) == statement(LEFT, RIGHT, CONFIG, source(3))
