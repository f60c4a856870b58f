"""What a clip's caption says happens in its frames."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given

from blip.data.scenes.clips import MOTIONS, Clip, draw_clip, paint_clip
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.words import RADII
from tests.support.scenes import SEEDS, source

CONFIG = ScenesConfig()


def of_motion(motion: str) -> list[Clip]:
    drawn = (draw_clip(CONFIG, source(seed)) for seed in range(80))
    return [clip for clip in drawn if clip.motion == motion]


@pytest.mark.parametrize(
    ("motion", "axis", "sign"),
    [("left", "x", -1), ("right", "x", 1), ("up", "y", -1), ("down", "y", 1)],
)
def test_moving_things_move_as_said(motion: str, axis: str, sign: int) -> None:
    clips = of_motion(motion)
    assert clips
    for clip in clips:
        track = [getattr(frame.things[-1], axis) for frame in clip.frames]
        assert (np.diff(track) * sign > 0.05).all()
        assert abs(track[-1] - track[0]) > 0.5
        other = "y" if axis == "x" else "x"
        assert len({getattr(frame.things[-1], other) for frame in clip.frames}) == 1
        assert all(motion in text.split() for text in clip.captions)


@pytest.mark.parametrize(("motion", "sign"), [("appears", 1), ("disappears", -1)])
def test_things_come_and_go_once(motion: str, sign: int) -> None:
    clips = of_motion(motion)
    assert clips
    for clip in clips:
        steps = np.diff([len(frame.things) for frame in clip.frames])
        assert steps.sum() == sign
        assert np.abs(steps).sum() == 1


@given(seed=SEEDS)
def test_nothing_touches_and_nothing_else_moves(seed: int) -> None:
    clip = draw_clip(CONFIG, source(seed))
    assert clip.motion in MOTIONS
    assert len(clip.frames) == 8
    assert len(clip.captions) == CONFIG.captions
    for frame in clip.frames:
        for one in frame.things:
            radius = RADII[one.size]
            assert radius <= one.x <= 1 - radius
            assert radius <= one.y <= 1 - radius
        for one, other in itertools.combinations(frame.things, 2):
            apart = max(abs(one.x - other.x), abs(one.y - other.y))
            assert apart > RADII[one.size] + RADII[other.size]
    others = {
        tuple(one for one in frame.things if one.look != clip.moving.look) for frame in clip.frames
    }
    assert len(others) == 1
    for text in clip.captions:
        assert f"{clip.moving.colour} {clip.moving.shape}" in text
    json.dumps(clip.to_json())


def test_pictures() -> None:
    clip = of_motion("left")[0]
    frames = [np.asarray(image) for image in paint_clip(clip, 32, seed=1)]
    assert all(frame.shape == (32, 32, 3) for frame in frames)
    assert all((one != other).any() for one, other in itertools.pairwise(frames))
    # The background strays in colour from clip to clip, and not within one.
    assert len({tuple(frame[0, 0]) for frame in frames}) == 1
    again = [np.asarray(image) for image in paint_clip(clip, 32, seed=1)]
    assert all((one == other).all() for one, other in zip(frames, again, strict=True))


def test_a_clip_needs_two_frames() -> None:
    with pytest.raises(ValueError, match="frames"):
        draw_clip(CONFIG, source(0), frames=1)
