"""Videos that `blip data inspect` looks into: counted, with lengths and sizes; odd ones named."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.cli.main import main
from blip.data.annotations.videos import lists_videos
from blip.data.videos.colours import PQ
from tests.support.saved_models import save_picture
from tests.support.tars import write_tar
from tests.support.videos import make_video, numbered, only_sound, plain_frames


def hdr() -> bytes:
    def tag(stream: Any) -> None:
        codec = stream.codec_context
        codec.color_trc, codec.color_primaries, codec.colorspace = PQ, 9, 9

    white = np.full((48, 64, 3), 30_000, np.uint16)
    return make_video([white] * 4, pix_fmt="yuv420p10le", change=tag)


FILES = {
    "broken.mp4": b"no video" * 99,
    "empty.mp4": b"",
    "hdr.mp4": hdr(),
    "plain.mp4": numbered(20),
    "rotated.mp4": make_video(plain_frames(5), change=lambda s: s.set_display_rotation(90)),
    "sound.mp4": only_sound(),
    "variable.mkv": numbered(6, times=[0, 1, 2, 10, 11, 30], form="matroska"),
}
FAULTS = ["broken_video", "empty_file", "audio_only"]
TRAITS = ["hdr", "rotated", "variable_rate"]


def inspect(capsys: pytest.CaptureFixture[str], *places: Path, status: int = 0) -> dict:
    assert main(["data", "inspect", *map(str, places), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def write_folder(folder: Path) -> Path:
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
        (folder / name).with_suffix(".txt").write_text("a text")
    return folder


def as_folder(tmp_path: Path) -> Path:
    save_picture(write_folder(tmp_path / "clips") / "a.png")
    (tmp_path / "clips/a.txt").write_text("a picture")
    return tmp_path / "clips"


def as_tar(tmp_path: Path) -> Path:
    texts = [(f"{name.partition('.')[0]}.txt", b"a text") for name in FILES]
    return write_tar(tmp_path / "clips.tar", [*FILES.items(), *texts])


def as_list(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "clips")
    lines = [{"clip_name": Path(name).stem, "caption": "a text"} for name in FILES]
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "list.jsonl"


def as_table(tmp_path: Path) -> Path:
    rows = [
        {"key": Path(name).stem, "video": content, "caption": "a text"}
        for name, content in FILES.items()
        if content
    ]
    # Null stands for no video in a table, and bytes without content for one, too.
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "videos.parquet")
    return tmp_path / "videos.parquet"


@pytest.mark.parametrize("make", [as_folder, as_tar, as_list, as_table])
def test_videos_are_counted_and_odd_ones_named(make, tmp_path, capsys) -> None:
    place = make(tmp_path)
    found = inspect(capsys, place)
    without = make is as_table
    pictures = 1 if make is as_folder else 0
    assert found["samples"] == found["texts"] == len(FILES) + pictures - without
    assert (found["videos"], found["bad"]) == (4, 3 - without)
    assert [found[trait] for trait in TRAITS] == [1, 1, 1]
    reasons = [fault.split()[2].rstrip(":") for fault in found["faults"]]
    assert sorted(reasons) == sorted(set(FAULTS) - ({"empty_file"} if without else set()))
    videos = found["of_videos"]
    assert [named.split()[-1] for named in videos["named"]] == TRAITS
    assert all(named.startswith(f"{place.name} ") for named in videos["named"])
    assert videos["sizes"] == {"64x48": 3, "48x64": 1}
    assert (videos["shortest"], videos["longest"]) == pytest.approx((0.4, 3.1), abs=0.15)
    assert videos["seconds"] == pytest.approx(0.4 + 2.0 + 0.5 + 3.1, abs=0.3)
    sound = ("hdr.mp4", "plain.mp4", "rotated.mp4", "variable.mkv")
    assert videos["bytes"] == sum(len(FILES[name]) for name in sound)


def test_questions_about_videos_and_missing_ones_are_counted(tmp_path, capsys) -> None:
    (tmp_path / "a.mp4").write_bytes(FILES["plain.mp4"])
    entries = [
        {"video_id": name, "question": "what?", "answer": "this", "id": number}
        for number, name in enumerate(("a", "a", "gone"))
    ]
    (tmp_path / "qa.json").write_text(json.dumps([*entries, {"video_id": "a", "question": 7}]))
    found = inspect(capsys, tmp_path / "qa.json")
    assert (found["samples"], found["questions"], found["videos"]) == (2, 3, 1)
    assert found["faults"] == [
        "qa.json a broken_question: entry 3 has no text as its question",
        "qa.json gone missing_video",
    ]


def test_the_lines_for_people(tmp_path, capsys) -> None:
    assert main(["data", "inspect", str(as_tar(tmp_path))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "variable_rate         1" in lines
    (about,) = [line for line in lines if line.startswith("videos of ")]
    assert "pixels: 64x48 (3), 48x64 (1)" in about
    assert lines[-1] == "clips.tar variable variable_rate"


def test_names_in_faults_stay_on_their_line(tmp_path, capsys) -> None:
    names = ("p%s\n.mp4", "a\u001b[31mred.mp4")
    lines = [json.dumps({"clip_name": name, "caption": "a text"}) for name in names]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    assert main(["data", "inspect", str(tmp_path / "list.jsonl")]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-2:] == [
        r"list.jsonl p%s\n missing_video",
        r"list.jsonl a\x1b[31mred missing_video",
    ]
    assert "inspect: 1/1 shards" in shown.err
    assert "samples 2" in shown.err


def test_without_pyav_videos_among_pictures_are_left_out(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    folder = as_folder(tmp_path)
    found = inspect(capsys, folder)
    assert (found["samples"], found["bad"]) == (1, 0)
    (folder / "clips").mkdir()
    (folder / "clips/a.mp4").write_bytes(b"")
    (fault,) = inspect(capsys, folder / "clips", status=1)["faults"]
    assert fault.startswith("clips unreadable: PyAV is not installed")
    (folder / "list.jsonl").write_text('{"clip_name": "plain", "caption": "a text"}\n')
    found = inspect(capsys, folder / "list.jsonl", status=1)
    assert "pip install 'blip-capfilt[video]'" in found["faults"][0]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"image": "a.png", "caption": "x", "video": "a.mp4"}\n', False),
        ("a.jsonl", "no json\n", False),
        ("a.json", '{"images": [{"video_id": 1}], "videos": []}', False),
        ("a.json", '[{"image": "video.png", "caption": "video"}]', False),
        ("a.json", '{"videos": [], "sentences": []}', True),
        ("a.csv", "key,vid_key,video_id,sentence\nret0,msr1,video7,a cat\n", True),
        ("a.parquet", "no table", False),
        ("a.zip", "", False),
    ],
)
def test_which_files_list_videos(tmp_path, name, content, expected) -> None:
    (tmp_path / name).write_text(content)
    assert lists_videos(tmp_path / name) is expected
