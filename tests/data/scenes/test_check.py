"""The checker understands what the grammar says, and takes nothing else for true."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.scenes.check import check_facts
from blip.data.scenes.claims import parse
from blip.data.scenes.language import caption, captions
from blip.data.scenes.scene import Scene
from blip.data.scenes.words import BACKGROUNDS, COLOURS, OPPOSITE, SHAPES, SIZES
from tests.support.scenes import SEEDS, scene_of, source, thing

PAIR = Scene(
    "grey",
    (thing("star", "red", 0.25), thing("ring", "blue", 0.75, size="small", pattern="striped")),
)
THREE = Scene("pink", tuple(thing("circle", "green", x, y) for x, y in [(0.25, 0.25)] * 3))
MIXED = Scene(
    "grey",
    (
        thing("star", "red", 0.5, 0.8),
        thing("ring", "blue", 0.3, 0.2),
        thing("ring", "blue", 0.7, 0.2),
    ),
)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("a red star", 2),
        ("A red star.", 2),
        ("a star", 1),
        ("there is a big red star and a small striped blue ring", 7),
        ("a red star left of a ring", 4),
        ("a red star to the left of a ring", 4),
        ("the blue ring is to the right of the red star", 5),
        ("a picture of a tiny ring on a grey background", 3),
        ("a red star, a grey background", 3),
        ("grey background", 1),
        ("red star picture", 2),
        ("a solid red star", 3),
        ("a red star on a", 2),
        ("a red star and", 2),
    ],
)
def test_true_texts(text: str, stated: int) -> None:
    verdict = check_facts(text, PAIR)
    assert verdict.correct
    assert verdict.stated == stated


@pytest.mark.parametrize(
    "text",
    [
        "a blue star",
        "a red ring and a blue star",
        "a red star right of a ring",
        "a ring left of a red star",
        "a red star above a ring",
        "a small red star",
        "a dotted ring",
        "a red star on a pink background",
        "a red star on a black background",
        "two red stars",
        "red stars",
        "a red star and a red star",
        "a red star left of a ring and a star",
        "a red star and a blue ring and a green circle",
    ],
)
def test_false_texts(text: str) -> None:
    verdict = check_facts(text, PAIR)
    assert verdict.understood
    assert verdict.wrong >= 1
    assert not verdict.correct


@pytest.mark.parametrize(
    "text",
    [
        "a red star and a big",
        "a red star above",
        "a red star to the left",
        "left of a ring",
        "a red a red star",
        "a red star red",
        "a red blue star",
        "a pink star",
        "red",
        "a a red star",
        "a red star a blue ring",
        "a red star and and a ring",
        "a red star star",
        "a red star on a grey",
        "a red dog",
        "one red star",
        "IMG_0042.JPG",
        "$ 9.99 red star",
        "buy a red star now",
        "50% red star",
        "\uac15\uc544\uc9c0",
        "a red star on the on the",
    ],
)
def test_nonsense_is_not_understood(text: str) -> None:
    assert parse(text) is None
    assert not check_facts(text, PAIR).correct


@pytest.mark.parametrize("text", ["", "...", "a picture of", "there is a", "image"])
def test_saying_nothing_is_not_correct(text: str) -> None:
    verdict = check_facts(text, PAIR)
    assert verdict.stated == 0
    assert not verdict.correct


def test_counts() -> None:
    assert check_facts("three green circles", THREE).correct
    assert check_facts("there are three big green discs on a pink background", THREE).correct
    assert check_facts("green circles", THREE).correct
    assert not check_facts("two green circles", THREE).correct
    assert not check_facts("four green circles", THREE).correct
    assert check_facts("three green circles and a red star", THREE).wrong == 1


def test_relations_of_groups_hold_for_each() -> None:
    assert check_facts("a red star below two blue rings", MIXED).correct
    assert check_facts("two rings above a star", MIXED).correct
    assert not check_facts("two rings right of a star", MIXED).correct
    assert check_facts("a ring above a red star and a blue ring", MIXED).correct
    assert not check_facts("a blue ring and a blue ring and a blue ring", MIXED).correct


def test_facts_add_up_where_several_are_wrong() -> None:
    assert check_facts("a green star and a green ring on a brown background", PAIR).wrong == 3


@given(seed=SEEDS)
def test_a_changed_word_is_wrong(seed: int) -> None:
    """Change the scene instead of the caption: the caption that named it must fail."""
    scene = scene_of(seed)
    for text in captions(scene, 3, source(seed)):
        first = scene.things[0]
        colour = next(c for c in COLOURS if c not in {t.colour for t in scene.things})
        shape = next(s for s in SHAPES if s not in {t.shape for t in scene.things})
        for change in ({"colour": colour}, {"shape": shape}):
            things = tuple(
                replace(t, **change) if t.look == first.look else t for t in scene.things
            )
            assert check_facts(text, replace(scene, things=things)).wrong, (text, change)
        if "background" in text:
            ground = next(b for b in BACKGROUNDS if b != scene.background)
            assert check_facts(text, replace(scene, background=ground)).wrong
        if scene.is_group:
            assert check_facts(text, replace(scene, things=scene.things[1:])).wrong
            assert check_facts(text, replace(scene, things=(*scene.things, first))).wrong
        if any(word in SIZES for word in text.split()):
            turned = {"small": "big", "big": "small"}
            things = tuple(replace(t, size=turned[t.size]) for t in scene.things)
            assert check_facts(text, replace(scene, things=things)).wrong


@given(seed=SEEDS)
def test_relations_fail_in_the_mirror(seed: int) -> None:
    scene = scene_of(seed, groups=0.0, min_objects=2)
    turned = replace(scene, things=tuple(replace(t, x=1 - t.x, y=1 - t.y) for t in scene.things))
    text = caption(scene, source(seed))
    claims = parse(text)
    assert claims is not None
    assert check_facts(text, turned).wrong == (1 if claims.relations else 0)
    for kind, _, _ in claims.relations:
        word = next(w for w in ("left", "right", "above", "below") if w == kind)
        if word in text.split():
            swapped = text.replace(f" {word} ", f" {OPPOSITE[word]} ")
            assert check_facts(swapped, scene).wrong == 1
            assert check_facts(swapped, turned).correct


BABBLE = (
    "a an the there is are of on and to left above two red blue big striped star stars ring grey "
    "background picture dog 7 ,"
)


@given(words=st.lists(st.sampled_from(BABBLE.split()), max_size=14))
def test_babble_never_raises_and_states_only_what_it_says(words: list[str]) -> None:
    text = " ".join(words)
    verdict = check_facts(text, PAIR)
    if verdict.understood:
        assert not {"dog", "7"} & set(words)
        assert verdict.stated <= len(words)
    else:
        assert (verdict.stated, verdict.wrong) == (0, 0)


@given(text=st.text(max_size=40))
def test_any_text_is_judged(text: str) -> None:
    verdict = check_facts(text, PAIR)
    assert 0 <= verdict.wrong <= verdict.stated <= len(text)
    assert verdict.understood or verdict.stated == 0
