"""Annotation files in every layout that people have; a malformed entry costs itself alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from blip.data.annotations.captions import list_annotated, read_annotations
from blip.errors import UsageError
from tests.support.pictures import photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.png").write_bytes(photo(number))
    return tmp_path


def read(folder: Path, data: Any, split: str | None = None) -> list[tuple[Any, ...]]:
    path = folder / "t.json"
    path.write_text(json.dumps(data))
    samples = list(read_annotations(path, folder, split))
    assert len(samples) == len(list_annotated(path, split))
    return [(sample.key, sample.texts, sample.error) for sample in samples]


@pytest.mark.parametrize(
    ("caption", "texts", "error"),
    [
        ("one", ("one",), None),
        (["one", None, "three"], ("one", "three"), None),
        (None, (), "missing_text"),
        ([None], (), "missing_text"),
        (7, (), "text_not_a_string"),
        (["one", 7], ("one",), "text_not_a_string"),
        ({"en": "one"}, (), "text_not_a_string"),
        ("\ud800", (), "text_not_utf8"),
    ],
)
def test_captions_of_any_type(folder: Path, caption: Any, texts: Any, error: str | None) -> None:
    fine = {"image": "b.png", "caption": "fine"}
    found = read(folder, [{"image": "a.png", "caption": caption}, fine])
    assert found == [("a", texts, error), ("b", ("fine",), None)]


def test_nocaps_has_numbers_and_domains(folder: Path) -> None:
    images = [
        {"id": 0, "open_images_id": "a", "file_name": "a.png", "domain": "in-domain"},
        {"id": 4, "open_images_id": "b", "file_name": "b.png", "domain": "out-domain"},
        {"id": "c", "file_name": "c.png", "domain": None},
    ]
    annotations = [
        {"id": n, "image_id": image["id"], "caption": "one"} for n, image in enumerate(images)
    ]
    path = folder / "nocaps_val_4500_captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    metas = [sample.meta for sample in read_annotations(path, folder)]
    assert [(meta.get("image_id"), meta.get("domain")) for meta in metas] == [
        (0, "in-domain"),
        (4, "out-domain"),
        (None, None),
    ]
    assert all(meta["image"] for meta in metas)


def test_karpathy_s_flickr30k(folder: Path) -> None:
    image = {"filename": "a.png", "imgid": 0, "sentids": [0, 1], "split": "test"}
    image["sentences"] = [
        {"tokens": ["two", "men"], "raw": "Two men.", "imgid": 0, "sentid": 0},
        {"tokens": ["a", "dog"], "imgid": 0, "sentid": 1},
    ]
    data = {"images": [image, {**image, "filename": "b.png", "split": "train"}]}
    data["dataset"] = "flickr30k"
    assert read(folder, data, "test") == [("a", ("Two men.", "a dog"), None)]


def test_coco_as_it_is_published(folder: Path) -> None:
    images = [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}, {"id": 3}]
    annotations = [
        {"id": 1, "image_id": 9, "caption": "nine"},
        {"id": 2, "image_id": 7, "caption": "seven"},
        {"id": 3, "image_id": 9, "caption": "again\n"},
        {"id": 4, "image_id": 8, "caption": "of no image"},
        {"id": 5, "image_id": 7},
    ]
    assert read(folder, {"images": images, "annotations": annotations}) == [
        ("a", ("seven",), None),
        ("b", ("nine", "again"), None),
        ("000000002", (), 'broken_row: image 2 has no "id" and "file_name"'),
        ("000000003", (), "broken_row: annotation 3 has an image_id that no image has"),
    ]


def test_an_image_that_coco_lists_twice_has_its_captions_once(folder: Path) -> None:
    images = [{"id": 7, "file_name": "a.png"}] * 2
    annotations = [{"image_id": 7, "caption": text} for text in ("x", "y")]
    found = read(folder, {"images": images, "annotations": annotations})
    assert found == [("a", ("x", "y"), None)]


def test_float_identifiers_of_coco_meet_their_images(folder: Path) -> None:
    images = [{"id": 7, "file_name": "a.png"}, {"id": 9.0, "file_name": "b.png"}]
    annotations = [{"image_id": 9, "caption": "nine"}, {"image_id": 7.0, "caption": "seven"}]
    path = folder / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    samples = list(read_annotations(path, folder))
    assert [(sample.texts, sample.error) for sample in samples] == [
        (("seven",), None),
        (("nine",), None),
    ]
    assert [repr(sample.meta["image_id"]) for sample in samples] == ["7", "9"]


def test_images_of_coco_without_captions_are_reported(folder: Path) -> None:
    images = [{"id": 7, "file_name": "a.png"}]
    assert read(folder, {"images": images, "annotations": []}) == [("a", (), "missing_text")]
    boxes = [{"image_id": 7, "bbox": [0, 0, 1, 1]}]
    with pytest.raises(UsageError, match=r'have no "caption"; .*captions_\*\.json'):
        read(folder, {"images": images, "annotations": boxes})


def test_karpathy_with_raw_with_tokens_and_with_neither(folder: Path) -> None:
    images = [
        {"filename": "a.png", "sentences": [{"raw": "one "}, {"tokens": ["a", "wall"]}, {}]},
        {"filename": "b.png", "filepath": None, "sentences": [{"raw": None}]},
        {"filename": "b.png", "sentences": None},
        {"filename": 7, "sentences": []},
        "c.png",
    ]
    assert read(folder, {"images": images}) == [
        ("a", ("one", "a wall"), "text_not_a_string"),
        ("b", (), "missing_text"),
        *(
            (f"{n:09d}", (), f'broken_row: image {n} has no "filename" and "sentences"')
            for n in (2, 3, 4)
        ),
    ]


@pytest.mark.parametrize(
    "entry", [7, None, "a.png", {"image": "b.png"}, {"caption": "one"}, ["a.png", "one"]]
)
def test_a_malformed_entry_is_counted_unless_all_may_be(folder: Path, entry: Any) -> None:
    fine = {"image": "a.png", "caption": "one"}
    fault = 'broken_row: entry 1 has no "image" and "caption"'
    # An image without a caption is one that CapFilt may caption.
    mute = entry == {"image": "b.png"}
    expected = ("b", (), "missing_text") if mute else ("000000001", (), fault)
    assert read(folder, [fine, entry])[1] == expected
    with pytest.raises(UsageError, match='entry 0 has no "image" and "caption"; allowed: a list'):
        read(folder, [entry, fine])


def test_images_that_are_not_paths_are_missing(folder: Path) -> None:
    entries = [{"image": name, "caption": "c"} for name in ("a.png", None, 7, "", ["a.png"])]
    found = [(key, error) for key, _, error in read(folder, entries)]
    assert found == [("a", None), *((f"{n:09d}", "missing_image") for n in (1, 2, 3, 4))]


@pytest.mark.parametrize("name", ["url", "image", "URL"])
def test_a_list_of_urls_is_to_be_downloaded_first(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="download with img2dataset first"):
        read(folder, [{"caption": "one", name: "http://x/a.jpg"}])


def test_lists_by_other_names(folder: Path) -> None:
    entries = [{"file_name": "a.png", "text": "one"}, {"Image": "b.png", "captions": ["two"]}]
    assert read(folder, entries) == [("a", ("one",), None), ("b", ("two",), None)]


def test_splits_are_named_where_a_wrong_one_is_asked_for(folder: Path) -> None:
    sentences = {"sentences": [{"raw": "one"}]}
    images = [
        {"filename": "a.png", "split": "val", **sentences},
        {"filename": "b.png", **sentences},
    ]
    assert read(folder, {"images": images}, "val") == [("a", ("one",), None)]
    with pytest.raises(UsageError, match=r"--split vall: .* has the splits val$"):
        read(folder, {"images": images}, "vall")
    with pytest.raises(UsageError, match=r'--split val: the entries of .* have no "split"'):
        read(folder, {"images": images[1:]}, "val")


@pytest.mark.parametrize("data", [7, "x", None, {}, {"images": 7}, {"a.png": ["one"]}])
def test_another_form_is_refused_with_those_that_are_read(folder: Path, data: Any) -> None:
    with pytest.raises(
        UsageError, match="is not an annotation file that can be read; allowed: a list of"
    ):
        read(folder, data)


@pytest.mark.parametrize(
    ("content", "task"),
    [
        ([{"video_id": 1, "question": "what?", "answer": "a dog"}], "video_qa"),
        ([{"video": "a.mp4", "description": "a dog"}], "video_retrieval"),
        ({"videos": [{"video_id": "video0"}], "sentences": []}, "video_retrieval"),
    ],
)
def test_a_list_of_videos_names_the_task_that_reads_it(
    content: object, task: str, tmp_path: Path
) -> None:
    path = tmp_path / "videos.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=f"lists videos; `blip evaluate --task {task}` and"):
        list(read_annotations(path, tmp_path))
