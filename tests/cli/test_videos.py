"""The verbs that take pictures take videos."""

import json
import sys
from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.saved_models import save_picture, save_tiny
from tests.support.videos import numbered


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("videos")
    save_tiny(place / "med")
    save_tiny(place / "vqa", "vqa")
    save_picture(place / "both/a.png")
    (place / "both/b.mp4").write_bytes(numbered(9))
    (place / "both/c.webm").write_bytes(numbered(30, form="webm", codec="libvpx-vp9"))
    return place


def rows(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[dict]:
    assert main([*map(str, words), "--device", "cpu", "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_folder_of_pictures_and_videos_is_captioned(folder, capsys):
    found = rows(capsys, "caption", folder / "med", folder / "both", "--frames", "3")
    assert [Path(row["path"]).name for row in found] == ["a.png", "b.mp4", "c.webm"]
    assert all(row["caption"] for row in found)


def test_the_number_of_frames_counts(folder, capsys):
    words = ("match", folder / "med", folder / "both/c.webm", "a red circle", "--frames")
    one, two = (rows(capsys, *words, count)[0]["cosine"] for count in ("1", "5"))
    assert one != two


def test_a_video_is_asked_about(folder, capsys):
    (found,) = rows(capsys, "ask", folder / "vqa", folder / "both/b.mp4", "what is it?")
    assert found["question"] == "what is it?"


def test_the_command_and_the_class_agree(folder, capsys):
    from blip import Matcher, read_video

    path = folder / "both/b.mp4"
    (row,) = rows(capsys, "match", folder / "med", path, "a red circle")
    matcher = Matcher.load(folder / "med")
    for video in (read_video(path), str(path)):
        ((scores,),) = matcher.scores([video], [["a red circle"]])
        assert scores.probability == pytest.approx(row["probability"], abs=1e-6)


def test_pictures_and_videos_in_one_call_are_as_each_alone(folder):
    from blip import Captioner, Embedder, Matcher, read_video

    images = [folder / "both/a.png", read_video(folder / "both/b.mp4", 2)]
    images += [str(folder / "both/b.mp4"), folder / "both/a.png"]
    matcher, texts = Matcher.load(folder / "med"), ["a red circle", "two stars"]
    together = matcher.cosine(images, [texts] * 4, batch_size=4)
    alone = [matcher.cosine([image], [texts])[0] for image in images]
    for first, second in zip(together, alone, strict=True):
        assert first == pytest.approx(second, abs=1e-5)
    features = Embedder.load(folder / "med").embed_images(images)
    assert features.shape[0] == 4
    captioner = Captioner.load(folder / "med")
    assert captioner.caption(images) == [captioner.caption([image])[0] for image in images]


def test_a_broken_video_is_named_and_the_others_are_captioned(folder, tmp_path, capsys):
    (tmp_path / "x.mp4").write_bytes(b"no video" * 99)
    (tmp_path / "y.mp4").write_bytes(numbered(2))
    assert main(["caption", str(folder / "med"), str(tmp_path), "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert "x.mp4: broken video" in shown.err
    assert "y.mp4\t" in shown.out


def test_without_the_extra_it_is_named_in_one_line(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    path = str(folder / "both/b.mp4")
    assert main(["caption", str(folder / "med"), path, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'blip-capfilt[video]'" in error
    assert len(error.splitlines()) == 1
