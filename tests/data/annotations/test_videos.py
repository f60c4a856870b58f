"""Videos of annotation files, tables and folders: found, each once, and what is wrong with them."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.data.annotations.content_store import StoredContent
from blip.data.annotations.videos import ListedVideo, list_videos
from blip.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Empty files under the names of videos; nothing is decoded here."""
    for name in ("video0.mp4", "video1.webm", "deep/clip.avi", "abc_1_5.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def texts_of(listed: list[ListedVideo]) -> dict[str, list[str]]:
    return {video.key: video.texts for video in listed if video.source is not None}


def bytes_of(video: ListedVideo) -> bytes | None:
    """The content of a video of a table or a tar."""
    return video.source.read() if isinstance(video.source, StoredContent) else None


def faults_of(listed: list[ListedVideo]) -> list[str]:
    return [fault.partition(":")[0] for video in listed for fault in video.faults]


def test_msrvtt_has_its_captions_in_another_list(folder):
    videos = [
        {"video_id": "video0", "split": "test"},
        {"video_id": "video1", "split": "test"},
        {"video_id": "video2", "split": "train"},
        {"id": 7},
    ]
    sentences = [
        {"video_id": "video0", "caption": "a cat"},
        {"video_id": "video2", "caption": "not in the test"},
        {"video_id": "video0", "caption": "a black cat"},
        {"video_id": "video1", "caption": 5},
        {"video_id": "video9", "caption": "of no video"},
        {"caption": "of none"},
        "no sentence",
    ]
    data = {"videos": videos, "sentences": sentences}
    listed = list_videos(write(folder / "videodatainfo.json", data))
    assert texts_of(listed) == {"video0": ["a cat", "a black cat"], "video1": []}
    assert faults_of(listed) == ["text_not_a_string", *["broken_row"] * 4]


def test_lines_of_the_release_name_clips(folder):
    lines = [
        {"clip_name": "video0", "retrieval_key": "ret0", "caption": "a cat"},
        {"clip_name": "clip", "retrieval_key": "ret1", "caption": "a dog"},
        {"clip_name": "gone", "retrieval_key": "ret2", "caption": "a bird"},
    ]
    path = folder / "retrieval_test.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no json\n")
    listed = list_videos(path)
    assert texts_of(listed) == {"video0": ["a cat"], "clip": ["a dog"]}
    assert [video.key for video in listed if video.source is None and not video.faults] == ["gone"]
    assert len(faults_of(listed)) == 1


def test_the_table_of_msrvtt_1k_a_numbers_its_texts(folder):
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\n"
        'ret0,msr0,video0,"a cat, and a dog"\n'
        "ret1,msr1,video1,a bird\n"
        "ret2,msr9,video9,of no video\n"
        "ret3,msr0,,of none\n"
    )
    listed = list_videos(folder / "MSRVTT_JSFUSION_test.csv")
    assert texts_of(listed) == {"video0": ["a cat, and a dog"], "video1": ["a bird"]}
    assert [video.key for video in listed if video.source is None and not video.faults] == [
        "video9"
    ]
    assert faults_of(listed) == ["broken_row"]
    (folder / "own.tsv").write_text("video\tcaption\ndeep/clip.avi\ta dog\n")
    assert texts_of(list_videos(folder / "own.tsv")) == {"deep/clip": ["a dog"]}
    (folder / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="names no videos in its first entry"):
        list_videos(folder / "other.csv")


def test_moments_of_didemo_become_a_paragraph(folder):
    entries = [
        {"video": "abc_1_5.mp4", "description": "a man walks", "times": [[0, 0]]},
        {"video": "video0.mp4", "description": "a cat"},
        {"video": "abc_1_5.mp4", "description": "he sits down", "times": [[1, 2]]},
    ]
    listed = list_videos(write(folder / "test_data.json", entries))
    assert texts_of(listed) == {"abc_1_5": ["a man walks he sits down"], "video0": ["a cat"]}


def test_questions_name_videos_by_number(folder):
    (folder / "youtube_mapping.txt").write_text("abc_1_5 vid7\n")
    entries = [
        {"answer": "man", "id": 1, "question": "who walks?", "video_id": 7},
        {"answer": "cat", "id": 2, "question": "what is it?", "video_id": 0},
        {"answer": "dog", "id": 2, "question": "again?", "video_id": 0},
        {"answer": "dog", "id": 3, "video_id": 0, "question": 5},
    ]
    listed = list_videos(write(folder / "test_qa.json", entries))
    assert [(v.key, v.source and v.source.name) for v in listed] == [
        ("7", "abc_1_5.mp4"),
        ("0", "video0.mp4"),
    ]
    assert [(q.question_id, q.answers) for v in listed for q in v.questions] == [
        (1, ("man",)),
        (2, ("cat",)),
    ]
    assert faults_of(listed) == ["duplicate_question_id", "broken_question"]


def test_empty_cells_are_neither_names_nor_identifiers(folder):
    nan = float("nan")
    entries = [
        {"video": nan, "video_id": 0, "question": "a?", "question_id": None, "answer": nan},
        {"video": None, "video_id": 0, "question": "b?", "question_id": nan, "answer": "cat"},
        {"video_id": 0, "question": "c?", "question_id": nan, "id": 9.0, "answer": "dog"},
    ]
    (listed,) = list_videos(write(folder / "test_qa.json", entries))
    assert [(q.question_id, q.answers) for q in listed.questions] == [
        ("0", ()),
        ("1", ("cat",)),
        (9, ("dog",)),
    ]
    assert listed.faults == []


def test_empty_cells_cost_no_text(folder):
    nan = float("nan")
    entries = [
        {"video": "video0.mp4", "caption": nan, "sentence": "a dog"},
        {"video": "video0.mp4", "caption": "a cat", "question": nan},
        {"video": "video0.mp4", "caption": "not read", "question": "what?"},
        {"video": "video1.webm", "description": "a man", "question": None},
        {"video": "video1.webm", "description": "sits", "question": nan},
        {"video": "deep/clip.avi", "description": nan, "caption": "a bird"},
        {"video": "abc_1_5.mp4", "description": nan},
    ]
    listed = list_videos(write(folder / "list.json", entries))
    assert texts_of(listed) == {
        "video0": ["a dog", "a cat"],
        "video1": ["a man sits"],
        "deep/clip": ["a bird"],
        "abc_1_5": [],
    }
    assert [question.text for video in listed for question in video.questions] == ["what?"]
    assert faults_of(listed) == ["missing_text"]


def test_a_refused_question_is_named_with_the_reason(folder):
    entries = [
        {"video": "video0.mp4", "question": "what?", "weight": -1},
        {"video": "video0.mp4", "caption": None, "question": None},
    ]
    (listed,) = list_videos(write(folder / "list.json", entries))
    assert listed.faults == [
        "broken_question: entry 0 has -1 as its weight, which is a number from 0",
        "broken_question: entry 1 has no text as its question",
    ]


def test_a_table_holds_videos_and_another_one_asks(tmp_path):
    videos = pa.table({"key": ["a", "b"], "video": [b"1", b"2"], "caption": [["x", "y"], ["z"]]})
    pq.write_table(videos, tmp_path / "videos.parquet")
    asked = pa.table({"question_id": [1, 2], "key": ["b", "c"], "question": ["q?", "r?"]})
    pq.write_table(asked.append_column("answer", [["yes", "no"]]), tmp_path / "qa.parquet")
    assert texts_of(list_videos(tmp_path / "videos.parquet")) == {"a": ["x", "y"], "b": ["z"]}
    found = list_videos(tmp_path / "qa.parquet")
    assert [(video.key, bytes_of(video)) for video in found] == [("b", b"2"), ("c", None)]
    assert [question.text for video in found for question in video.questions] == ["q?", "r?"]


def test_a_tar_holds_videos_and_their_texts(tmp_path):
    members = {
        "a.mp4": b"1",
        "a.txt": b"a cat",
        "deep/b.json": b'{"captions": ["x", "y"]}',
        "deep/b.webm": b"2",
        "._a.mp4": b"hidden",
        "c.mp4": b"3",
        "d.txt": b"no video",
        "d.pdf": b"",
        "a.mkv": b"a second one",
        "../e.mp4": b"elsewhere",
    }
    path = tmp_path / "videos.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    listed = list_videos(path)
    assert [(video.key, bytes_of(video), video.texts) for video in listed[:4]] == [
        *(("a", b"1", ["a cat"]), ("deep/b", b"2", ["x", "y"])),
        *(("c", b"3", []), ("d", None, ["no video"])),
    ]
    assert sorted(faults_of(listed)) == ["duplicate_key", "unsafe_name"]
    path.write_bytes(path.read_bytes()[:700])
    assert [video.key for video in list_videos(path) if video.source] == ["a"]
    assert faults_of(list_videos(path)) == ["torn_tar"]


def test_a_folder_holds_videos_with_texts_beside_them(folder):
    (folder / "video0.txt").write_text("a cat\na black cat\n")
    listed = list_videos(folder)
    assert [video.key for video in listed] == [
        "abc_1_5.mp4",
        "video0.mp4",
        "video1.webm",
        "deep/clip.avi",
    ]
    assert texts_of(listed)["video0.mp4"] == ["a cat", "a black cat"]


def test_videos_are_found_in_linked_folders(folder, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    (work / "msrvtt").symlink_to(folder)
    (work / "msrvtt_again").symlink_to(folder)
    (folder / "deep" / "loop").symlink_to(folder)
    listed = list_videos(write(work / "a.json", [{"video": "video0.mp4", "caption": "a cat"}]))
    assert texts_of(listed) == {"video0": ["a cat"]}
    assert [video.key for video in list_videos(work)] == [
        "msrvtt/abc_1_5.mp4",
        "msrvtt/video0.mp4",
        "msrvtt/video1.webm",
        "msrvtt/deep/clip.avi",
    ]


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    real = os.scandir

    def scandir(place: str) -> object:
        if place.endswith("deep"):
            raise PermissionError(13, "Permission denied", place)
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    listed = list_videos(folder)
    assert len(listed) == 4
    assert listed[-1].faults == [f"unreadable: {folder / 'deep'}: Permission denied"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.json", {"images": []}),
        ("b.json", {"videos": []}),
        ("c.json", [{"image": "a.jpg", "caption": "x"}]),
        ("d.txt", []),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, value):
    with pytest.raises(UsageError, match="allowed") as caught:
        list_videos(write(tmp_path / name, value))
    assert "\n" not in str(caught.value)


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no videos"):
        list_videos(tmp_path)
