"""`blip data pack` of videos: it packs what the lists say, and evaluation reads it back."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.cli.main import main
from blip.data.annotations.videos import ListedVideo, list_videos
from blip.data.examples.video_set import VideoSet
from blip.data.readers.video_files import extension_of_video
from blip.data.readers.videos import read_videos
from tests.support.saved_models import save_picture
from tests.support.tars import write_tar
from tests.support.videos import numbered, only_sound

CLIP, OTHER = numbered(6), numbered(9, form="webm", codec="libvpx-vp9")


def pack(source: Path, out: Path, *options: str, status: int = 0) -> Path:
    assert main(["data", "pack", str(source), str(out), *options]) == status
    return out / "00000.tar"


def left_out(out: Path) -> list[list[str]]:
    return json.loads((out / ".pack.json").read_text())["first_left_out"]


def said(path: Path) -> dict[str, tuple[bytes, list[str], list[tuple[object, str]]]]:
    """All that is known of each video."""

    def content(video: ListedVideo) -> bytes:
        assert video.source is not None
        return video.source.read_bytes() if isinstance(video.source, Path) else video.source.read()

    return {
        video.key: (
            content(video),
            video.texts,
            [(question.question_id, question.text) for question in video.questions],
        )
        for video in list_videos(path)
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "clips"
    (place / "deep").mkdir(parents=True)
    for name, content in (("a.mp4", CLIP), ("deep/b.webm", OTHER), ("sound.mp4", only_sound())):
        (place / name).write_bytes(content)
        (place / name).with_suffix(".txt").write_text(f"of {name}\nagain\n")
    (place / "silent.mp4").write_bytes(CLIP)
    return place


def test_a_folder_of_videos(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tar = pack(folder, tmp_path / "out")
    assert said(tar) == {
        "a": (CLIP, ["of a.mp4", "again"], []),
        "deep/b": (OTHER, ["of deep/b.webm", "again"], []),
    }
    assert left_out(tmp_path / "out") == [
        *(["clips/silent.mp4", "missing_text"], ["clips/sound.mp4", "audio_only"])
    ]
    assert "left out: audio_only 1, missing_text 1" in capsys.readouterr().err
    pack(folder, tmp_path / "all", "--allow-missing-text")
    assert VideoSet([str(tmp_path / "all")], 16, 2, "texts").keys == ["a", "deep/b"]
    # A pack of a pack has the same bytes.
    assert pack(tmp_path / "out", tmp_path / "again").read_bytes() == tar.read_bytes()
    (tar.parent / ".pack.json").write_text('{"state": "begun"}')
    assert main(["data", "pack", str(tar.parent), str(tmp_path / "third")]) == 2


def test_questions_about_videos_are_packed_and_asked_again(folder: Path, tmp_path: Path):
    entries = [
        {"id": 5, "video_id": "a", "question": "what?", "answer": "this"},
        {"id": 6, "video_id": "b", "question": "who?", "answer": "that"},
        {"id": 6, "video_id": "a", "question": "who again?", "answer": "that"},
        {"id": 7, "video_id": "gone", "question": "where?", "answer": "there"},
        {"video_id": "a", "question": 7},
    ]
    (folder / "qa.json").write_text(json.dumps(entries))
    tar = pack(folder / "qa.json", tmp_path / "out")
    assert [key for key, _ in left_out(tmp_path / "out")] == ["qa/a", "qa/a", "qa/gone"]
    assert {key: asked for key, (_, _, asked) in said(tar).items()} == {
        "a": [(5, "what?")],
        "b": [(6, "who?")],
    }
    assert [reason.partition(":")[0] for _, reason in left_out(tmp_path / "out")] == [
        *("duplicate_question_id", "broken_question", "missing_video")
    ]
    asked = list(VideoSet([str(tar)], 16, 2, "questions").questions)
    assert [question.answers for question in asked] == [("this",), ("that",)]


def test_splits_and_the_folder_of_the_videos(folder: Path, tmp_path: Path):
    data = {
        "videos": [{"video_id": "a", "split": "train"}, {"video_id": "b", "split": "test"}],
        "sentences": [{"video_id": "a", "caption": "one"}, {"video_id": "b", "caption": "two"}],
    }
    path = tmp_path / "list/info.json"
    path.parent.mkdir()
    path.write_text(json.dumps(data))
    options = ("--images", str(folder))
    assert list(said(pack(path, tmp_path / "test", *options))) == ["b"]
    assert list(said(pack(path, tmp_path / "train", *options, "--split", "train"))) == ["a"]
    pack(path, tmp_path / "no", *options, "--split", "val", status=2)
    pack(folder, tmp_path / "no", *options, status=2)
    pack(folder, tmp_path / "no", "--split", "val", status=2)
    pack(path, tmp_path / "no", "--images", str(tmp_path / "absent"), status=2)
    assert not (tmp_path / "no").exists()


def test_pictures_come_without_the_videos_beside_them(folder: Path, tmp_path: Path):
    save_picture(folder / "p.png")
    (folder / "p.txt").write_text("a picture")
    tar = pack(folder, tmp_path / "out")
    assert [video.source for video in list_videos(tar)] == [None]
    mixed = [("p.png", (folder / "p.png").read_bytes()), ("a.mp4", CLIP), ("a.txt", b"a clip")]
    samples = read_videos([write_tar(tmp_path / "mixed.tar", mixed)])
    assert [(sample.key, sample.error) for sample in samples] == [
        *(("p", "missing_video"), ("a", None))
    ]


def test_several_tables_have_distinct_keys(tmp_path: Path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        row = {"key": "1", "video": CLIP, "caption": name}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / name / "v.parquet")
    tar = pack(tmp_path / "*/v.parquet", tmp_path / "out")
    assert [video.texts for video in list_videos(tar)] == [["x"], ["y"]]
    assert len({video.key for video in list_videos(tar)}) == 2


def test_without_pyav_the_extra_is_named(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setitem(sys.modules, "av", None)
    pack(folder, tmp_path / "out", status=2)
    error = capsys.readouterr().err
    assert "pip install 'blip-capfilt[video]'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("form", "codec", "extension"),
    [
        *(("mp4", "libx264", "mp4"), ("mov", "mpeg4", "mov"), ("matroska", "libx264", "mkv")),
        *(("webm", "libvpx-vp9", "webm"), ("avi", "mpeg4", "avi"), ("mpegts", "libx264", "mts")),
        *(("flv", "libx264", "flv"), ("asf", "mpeg4", "wmv"), ("mpeg", "mpeg2video", "mpg")),
    ],
)
def test_the_extension_of_bytes(form: str, codec: str, extension: str):
    rate = 25 if form == "mpeg" else 10
    assert extension_of_video(numbered(3, form=form, codec=codec, rate=rate)) == extension
