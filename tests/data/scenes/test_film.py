"""Clips as videos: the same bytes each time, read again as they were drawn, and measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from blip.cli.main import main
from blip.data.annotations.videos import list_videos
from blip.data.scenes.clips import draw_clip, paint_clip
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.film import QUESTIONS, VIDEOS, encode, film_clips
from blip.data.scenes.write import write_splits
from blip.data.videos.read import read_video
from tests.support.saved_models import save_tiny

FEW = ScenesConfig(human=1, web=1, val=1, test=1, clips=3)


def test_a_clip_is_read_as_it_was_painted():
    clip = draw_clip(FEW, np.random.default_rng(0))
    painted = np.stack([np.asarray(frame) for frame in paint_clip(clip, 48, 7)]).astype(int)
    found = read_video(encode(clip, 48, 7), 8).pixels(48)
    assert np.abs(found - painted).mean() < 4


def test_an_odd_size_can_be_filmed():
    clip = draw_clip(FEW, np.random.default_rng(1))
    assert len(read_video(encode(clip, 33, 0), 8)) == 8


def test_clips_have_captions_and_questions_and_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        film_clips(FEW, tmp_path / name)
    for name in (VIDEOS, QUESTIONS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    listed = list_videos(tmp_path / "one" / VIDEOS)
    assert [len(video.texts) for video in listed] == [FEW.captions] * 3
    asked = list_videos(tmp_path / "one" / QUESTIONS)
    assert [video.key for video in asked] == [video.key for video in listed]
    assert all(question.answers for video in asked for question in video.questions)


def test_without_clips_nothing_is_filmed(tmp_path):
    write_splits(replace(FEW, clips=0), tmp_path / "scenes")
    assert not (tmp_path / "scenes/clips").exists()


@pytest.mark.parametrize(
    ("kind", "task", "name", "figure"),
    [
        ("med", "video_retrieval", VIDEOS, "vr1"),
        ("vqa", "video_qa", QUESTIONS, "accuracy"),
    ],
)
def test_clips_are_drawn_and_measured_out_of_the_box(tmp_path, capsys, kind, task, name, figure):
    places = ["--human", "1", "--web", "1", "--val", "1", "--test", "1", "--clips", "3"]
    assert main(["data", "scenes", str(tmp_path / "scenes"), *places]) == 0
    save_tiny(tmp_path / kind, kind)
    capsys.readouterr()
    data = Path("clips", name)
    words = [str(tmp_path / kind), "--data", str(tmp_path / "scenes" / data), "--task", task]
    assert main(["evaluate", *words, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["videos"] == 3
    assert 0 <= found[task][figure] <= 100
    assert pq.read_table(tmp_path / "scenes/clips" / VIDEOS).num_rows == 3
