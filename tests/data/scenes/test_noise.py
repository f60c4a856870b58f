"""Web texts: what is planted is there, and the hidden label is the truth."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.scenes.check import check_facts
from blip.data.scenes.config import NOISE_KINDS, ScenesConfig
from blip.data.scenes.noise import web_text
from blip.data.scenes.scene import draw_scene
from tests.support.scenes import CONFIGS, SEEDS, source


def only(kind: str, **changes: int) -> ScenesConfig:
    return ScenesConfig(noise=1.0, noise_kinds={kind: 1.0}, **changes)


@given(config=CONFIGS, kind=st.sampled_from(NOISE_KINDS), seed=SEEDS)
def test_labels_are_the_truth(config: ScenesConfig, kind: str, seed: int) -> None:
    config = replace(config, noise=1.0, noise_kinds={kind: 1.0})
    rng = source(seed)
    scene = draw_scene(config, rng)
    web = web_text(scene, config, rng)
    verdict = check_facts(web.text, scene)
    assert web.matches == verdict.correct
    assert web.noise == kind or (kind, web.noise) == ("wrong_count", "wrong_attribute")
    assert web.text.strip() == web.text != ""
    if web.noise in ("wrong_attribute", "wrong_count"):
        # A proper sentence that is false, not a broken one.
        assert verdict.understood
        assert verdict.wrong
        assert " a o" not in web.text
    if web.noise in ("file_name", "price_or_seo"):
        assert not verdict.understood


@given(seed=SEEDS)
def test_without_noise_all_texts_match(seed: int) -> None:
    config, rng = ScenesConfig(noise=0.0), source(seed)
    web = web_text(draw_scene(config, rng), config, rng)
    assert web.matches
    assert web.noise is None


def test_shares_are_as_configured() -> None:
    config, rng = ScenesConfig(), source(0)
    found = Counter(web_text(draw_scene(config, rng), config, rng).noise for _ in range(2000))
    assert set(found) == {*NOISE_KINDS, None}
    assert 1 - found[None] / 2000 == pytest.approx(0.4, abs=0.04)
    assert found["price_or_seo"] / (2000 - found[None]) == pytest.approx(0.2, abs=0.04)


def test_wrong_counts_count_wrongly() -> None:
    config, rng = only("wrong_count", max_objects=1), source(0)
    for _ in range(100):
        scene = draw_scene(config, rng)
        web = web_text(scene, config, rng)
        assert web.noise == "wrong_count"
        number = {"two": 2, "three": 3, "four": 4}[
            next(w for w in web.text.split() if w in ("two", "three", "four"))
        ]
        assert number != len(scene.things)


@pytest.mark.parametrize(
    ("kind", "most"), [("truncated", 0.25), ("other_text", 0.05), ("file_name", 0.0)]
)
def test_most_noise_does_not_match(kind: str, most: float) -> None:
    config, rng = only(kind), source(1)
    texts = [web_text(draw_scene(config, rng), config, rng) for _ in range(400)]
    assert sum(web.matches for web in texts) <= most * len(texts)
