"""Questions can be answered from the picture, and in one way."""

from collections import Counter

from hypothesis import given

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.questions import KINDS, possible_answers, questions
from blip.data.scenes.scene import Scene, draw_scene
from tests.support.scenes import CONFIGS, SEEDS, scene_of, source, thing

CONFIG = ScenesConfig()
ROW = Scene(
    "pink",
    (
        thing("star", "red", 0.15),
        thing("ring", "blue", 0.5, size="small"),
        thing("star", "green", 0.85),
    ),
)
GROUP = Scene("grey", tuple(thing("cross", "orange", x) for x in (0.2, 0.5, 0.8)))


def answers(scene: Scene) -> dict[str, tuple[str, ...]]:
    asked = questions(scene, 1000, CONFIG, source(0))
    return {question.text: (question.answer, *question.also_right) for question in asked}


def test_answers_on_a_row() -> None:
    found = answers(ROW)
    assert found["what colour is the background?"] == ("pink",)
    assert found["what colour is the ring?"] == ("blue",)
    assert "what colour is the star?" not in found
    assert found["what shape is the green thing?"] == ("star",)
    assert found["what size is the blue ring?"] == ("small",)
    assert found["how many things are there?"] == ("three",)
    assert found["how many stars are there?"] == ("two",)
    assert found["how many red things are there?"] == ("one",)
    assert found["what is to the left of the blue ring?"] == ("a red star",)
    assert "what is to the left of the green star?" not in found
    assert set(found["where is the blue ring?"]) == {
        "to the right of the red star",
        "to the left of the green star",
    }
    assert found["is there a red star?"] == ("yes",)


def test_answers_on_a_group() -> None:
    found = answers(GROUP)
    assert found["what colour are the crosses?"] == ("orange",)
    assert found["what shape are the orange things?"] == ("cross",)
    assert found["how many crosses are there?"] == ("three",)
    assert not any(text.startswith(("where", "what is")) for text in found)


@given(config=CONFIGS, seed=SEEDS)
def test_questions_are_different_and_answers_are_known(config: ScenesConfig, seed: int) -> None:
    rng = source(seed)
    scene = draw_scene(config, rng)
    asked = questions(scene, 12, config, rng)
    assert 0 < len(asked) <= 12
    assert len({question.text for question in asked}) == len(asked)
    known = possible_answers(config)
    assert len(set(known)) == len(known)
    for question in asked:
        assert question.answer in known, question
        assert question.answer not in question.also_right
        assert question.text.endswith("?")


def test_kinds_are_mixed_and_yes_is_as_common_as_no() -> None:
    asked = [
        question
        for seed in range(200)
        for question in questions(scene_of(seed), 8, CONFIG, source(seed))
    ]
    assert {question.kind for question in asked} == set(KINDS)
    every = [
        question.answer
        for seed in range(100)
        for question in questions(scene_of(seed), 1000, CONFIG, source(seed))
        if question.kind == "yes_no"
    ]
    assert Counter(every)["yes"] == Counter(every)["no"] > 100


def test_the_same_seed_asks_the_same() -> None:
    assert questions(ROW, 9, CONFIG, source(4)) == questions(ROW, 9, CONFIG, source(4))
