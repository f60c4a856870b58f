"""Test scenes are not trained on, and samples can be drawn in any order."""

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.split import SPLITS, belongs, draw_scene_for, random_source
from blip.data.scenes.write import draw_sample, draw_split
from tests.support.scenes import scene_of, source

SMALL = ScenesConfig(human=60, web=60, val=40, test=60)


def test_combinations_of_objects_are_in_one_kind_of_split_alone() -> None:
    for seed in range(300):
        scene = scene_of(seed, groups=0.0, min_objects=2)
        homes = {split for split in SPLITS if belongs(scene, split)}
        assert homes in ({"human", "web"}, {"val"}, {"test"})
    assert all(belongs(scene_of(3, groups=1.0), split) for split in SPLITS)


def test_splits_share_no_combinations() -> None:
    shown = {
        split: {s.identity for s, _ in draw_split(SMALL, split) if len({*s.things}) > 1}
        for split in SPLITS
    }
    pairs = {
        split: {i for i in shown[split] if len(set(i.split(": ")[1].split(", "))) > 1}
        for split in SPLITS
    }
    assert all(len(found) > 10 for found in pairs.values())
    assert not pairs["test"] & (pairs["human"] | pairs["web"] | pairs["val"])
    assert not pairs["val"] & (pairs["human"] | pairs["web"])


def test_test_scenes_differ_and_are_as_mixed_as_training_scenes() -> None:
    test = [scene for scene, _ in draw_split(SMALL, "test")]
    assert len({scene.identity for scene in test}) == len(test)
    several = sum(len({thing.look for thing in scene.things}) > 1 for scene in test)
    assert 0.3 < several / len(test) < 0.75


def test_pictures_of_different_splits_differ() -> None:
    images = [draw_sample(SMALL, split, n)[1].image for split in SPLITS for n in range(20)]
    assert len(set(images)) == len(images)


def test_a_sample_depends_on_nothing_but_its_number() -> None:
    whole = [sample for _, sample in draw_split(SMALL, "human")]
    assert draw_sample(SMALL, "human", 7)[1] == whole[7]


def test_too_few_kinds_still_give_scenes() -> None:
    config = ScenesConfig(
        shapes=("star",),
        colours=("red", "blue"),
        sizes=("big",),
        patterns=("solid",),
        backgrounds=("grey",),
        test=12,
        max_count=1,
    )
    scenes = [scene for scene, _ in draw_split(config, "test")]
    assert len(scenes) == 12
    assert draw_scene_for(config, "val", source(0)).things
    assert random_source(config, "val", 1).random() != random_source(config, "test", 1).random()
