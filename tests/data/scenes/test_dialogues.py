"""Dialogues ask different things, and each answer is among its candidates once."""

import pytest
from hypothesis import given

from blip.data.scenes.check import check_facts
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.dialogues import dialogue
from tests.support.scenes import SEEDS, scene_of, source

CONFIG = ScenesConfig()


@given(seed=SEEDS)
def test_rounds(seed: int) -> None:
    scene = scene_of(seed)
    made = dialogue(scene, CONFIG, source(seed), rounds=6, candidates=20)
    assert check_facts(made.caption, scene).correct
    assert 3 <= len(made.rounds) <= 6
    assert len({one.question for one in made.rounds}) == len(made.rounds)
    for one in made.rounds:
        assert len(one.candidates) == len(set(one.candidates)) == len(one.relevance) == 20
        assert one.candidates[one.answer_index] == one.answer
        assert one.relevance[one.answer_index] == 1.0
        assert one.relevance.count(1.0) == 1


def test_answers_stand_anywhere_and_others_may_be_right_as_well() -> None:
    rounds = [
        one
        for seed in range(60)
        for one in dialogue(scene_of(seed), CONFIG, source(seed), candidates=100).rounds
    ]
    places = [one.answer_index for one in rounds]
    assert min(places) < 10
    assert max(places) > 90
    assert any(0.5 in one.relevance for one in rounds)


def test_few_candidates_in_a_small_world() -> None:
    config = ScenesConfig(shapes=("star",), colours=("red",), max_count=1)
    made = dialogue(scene_of(0), config, source(0), candidates=100)
    assert all(5 < len(one.candidates) < 100 for one in made.rounds)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"candidates": 1}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        dialogue(scene_of(0), CONFIG, source(0), **wrong)
