"""Small files in the layouts of published data sets, where the documentation's commands look."""

import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.pictures import photo
from tests.support.videos import numbered
from tests.support.visdial import official_dialog, write_dense, write_official

ROOT = Path(__file__).parents[2]
TEXTS = ("a red circle", "two blue stars", "a red star", "a blue circle")
SPLITS = ("train", "restval", "val", "test")
URLS = [f"https://example.org/{number}.jpg" for number in range(len(TEXTS))]


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_pictures(folder: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number, "PNG" if path.suffix == ".png" else "JPEG"))


def coco_name(number: int, year: str) -> str:
    """What COCO calls a picture of one of its parts."""
    return f"COCO_{year}_{number:012d}.jpg"


def karpathy(name: str) -> dict[str, Any]:
    """Karpathy's file of a data set: an image in each of its splits."""
    images = []
    for number, (split, text) in enumerate(zip(SPLITS, TEXTS, strict=True)):
        image = {"split": split, "filename": f"{number}.jpg", "sentences": [{"raw": text}]}
        if name == "coco":
            year = "train2014" if split == "train" else "val2014"
            image |= {"filepath": year, "filename": coco_name(number, year)}
        images.append(image)
    return {"dataset": name, "images": images}


def downloads() -> dict[str, bytes]:
    """What the documented addresses give, by the last part of each."""
    rows = [{"url": url, "caption": text} for url, text in zip(URLS, TEXTS, strict=True)]
    table = "".join(f"{row['url']}\t{row['caption']}\n" for row in rows)
    sbu = json.dumps({"image_urls": URLS, "captions": TEXTS}).encode()
    captions = {
        f"dataset_{name}.json": json.dumps(karpathy(name)).encode()
        for name in ("coco", "flickr30k", "flickr8k")
    }
    lists = json.dumps(rows).encode()
    files = {
        f"{kind}{synthetic}_filtered.json": lists
        for kind in ("ccs", "laion")
        for synthetic in ("", "_synthetic")
    }
    return files | {
        "train2014.zip": _zip({f"train2014/{coco_name(0, 'train2014')}": photo(0, "JPEG")}),
        "val2014.zip": _zip(
            {f"val2014/{coco_name(n, 'val2014')}": photo(n, "JPEG") for n in (1, 2, 3)}
        ),
        "caption_datasets.zip": _zip(captions),
        "images.zip": _zip({f"VG_100K/{n}.jpg": photo(n, "JPEG") for n in (1, 2)}),
        "images2.zip": _zip({f"VG_100K_2/{n}.jpg": photo(n, "JPEG") for n in (3, 4)}),
        "cc12m.tsv": table.encode(),
        "sbu-captions-all.tar.gz": _tar({"sbu-captions-all.json": sbu}),
    }


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(files: dict[str, bytes], mode: Literal["w", "w:gz"] = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def save_published_files(folder: Path) -> None:
    """All of them, with the pictures and videos that they name."""
    _save_captions(folder / "downloads")
    _save_questions(folder)
    _save_statements(folder)
    _save_dialogues(folder)
    _save_videos(folder)


def _save_captions(folder: Path) -> None:
    """Karpathy's files, those of nocaps and CC3M, and a list of Visual Genome's regions."""
    coco = karpathy("coco")
    write_json(folder / "coco/dataset_coco.json", coco)
    write_pictures(
        folder / "coco", [f"{one['filepath']}/{one['filename']}" for one in coco["images"]]
    )
    for name, pictures in (
        ("flickr30k", "flickr30k-images"),
        ("flickr8k", "Flicker8k_Dataset"),
    ):
        images = karpathy(name)
        write_json(folder / f"dataset_{name}.json", images)
        write_pictures(folder / pictures, [one["filename"] for one in images["images"]])
    regions = [
        {"image": f"VG_100K/{number}.jpg", "caption": text}
        for number, text in enumerate(TEXTS[:2], 1)
    ]
    write_json(folder / "vg/vg.json", regions)
    write_pictures(folder / "vg", [row["image"] for row in regions])
    table = "".join(f"{text}\t{url}\n" for url, text in zip(URLS, TEXTS, strict=True))
    (folder / "Train_GCC-training.tsv").write_text(table, encoding="utf-8")
    images = [
        {"id": number, "file_name": f"{number:016x}.jpg", "open_images_id": f"{number:016x}"}
        for number in range(2)
    ]
    annotations = [
        {"id": number, "image_id": number, "caption": text} for number, text in enumerate(TEXTS[:2])
    ]
    write_json(
        folder / "nocaps_val_4500_captions.json", {"images": images, "annotations": annotations}
    )
    write_json(folder / "nocaps_test_image_info.json", {"images": images})
    write_pictures(folder, [image["file_name"] for image in images])


def _save_questions(folder: Path) -> None:
    """VQA v2, Visual Genome's questions and DAQUAR's tables."""
    for split, numbers in (("train2014", (21, 22)), ("val2014", (23, 24)), ("test2015", (25, 26))):
        asked = [
            {"question_id": 10 * number, "image_id": number, "question": "what colour is it?"}
            for number in numbers
        ]
        answered = [
            {"question_id": 10 * number, "answers": [{"answer": "red"}, {"answer": "dark red"}]}
            for number in numbers
        ]
        asked_file = folder / f"v2_OpenEnded_mscoco_{split}_questions.json"
        write_json(asked_file, {"questions": asked, "data_subtype": split})
        if split != "test2015":
            answers_file = folder / f"v2_mscoco_{split}_annotations.json"
            write_json(answers_file, {"annotations": answered, "data_subtype": split})
        write_pictures(folder / f"coco/{split}", [coco_name(number, split) for number in numbers])
    asked = [
        {"id": number, "qas": [{"question": "what is it?", "answer": text}]}
        for number, text in enumerate(TEXTS[:2], 1)
    ]
    write_json(folder / "question_answers.json", asked)
    write_pictures(folder / "vg", ["VG_100K/1.jpg", "VG_100K/2.jpg"])
    write_json(folder / "answer_list.json", ["red", "two", "blue"])
    (folder / "daquar").mkdir()
    for split in ("train", "dev"):
        columns = {
            "image": [{"bytes": photo(number), "path": None} for number in (0, 1)],
            "question": ["what colour is it?", "how many are there?"],
            "answer": ["red", "two"],
        }
        pq.write_table(pa.table(columns), folder / f"daquar/{split}.parquet")


def _save_statements(folder: Path) -> None:
    """NLVR2's lines, with its pictures in the folders of the release; and tables of pairs."""
    for split, place in (("train", "images/train/0"), ("dev", "dev"), ("test1", "test1")):
        lines = [
            {
                "identifier": f"{split}-{pair}-0-0",
                "sentence": "both are red",
                "label": str(pair == 0),
                "left_url": URLS[0],
                "right_url": URLS[1],
            }
            for pair in (0, 1)
        ]
        names = [f"{split}-{pair}-0-img{side}.png" for pair in (0, 1) for side in (0, 1)]
        write_pictures(folder / "nlvr2" / place, names)
        _write_lines(folder / f"nlvr2/{split}.json", lines)
    for name in ("pairs", "held_out"):
        columns = {
            "identifier": ["dev-0-0-0", "dev-1-0-0"],
            "sentence": ["both are red", "one is blue"],
            "label": [True, False],
            "left": [photo(0), photo(1)],
            "right": [photo(2), photo(3)],
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def _save_dialogues(folder: Path) -> None:
    """VisDial v1.0: train and val with options, val with dense annotations, and test."""
    train, val, test = (31, 32), (33, 34), (35, 36)
    for split, numbers in (("train", train), ("val", val), ("test", test)):
        dialogs = [official_dialog(number, rounds=2) for number in numbers]
        write_official(folder, dialogs, f"visdial_1.0_{split}")
    relevance = [0.5, *[0.0] * 99]
    dense = [{"image_id": number, "round_id": 1, "gt_relevance": relevance} for number in val]
    write_dense(folder, dense, "visdial_1.0_val")
    write_pictures(folder / "coco/train2014", [coco_name(number, "train2014") for number in train])
    for numbers, year in ((val, "val2018"), (test, "test2018")):
        names = [f"VisualDialog_{year}_{number:012d}.jpg" for number in numbers]
        write_pictures(folder / f"VisualDialog_{year}", names)


def _save_videos(folder: Path) -> None:
    """MSR-VTT's file and list of texts, MSVD's questions, a tar and a table of clips."""
    videos = [{"video_id": f"video{number}", "split": "test"} for number in (0, 1)]
    sentences = [
        {"video_id": f"video{number}", "caption": text} for number, text in enumerate(TEXTS[:2])
    ]
    write_json(folder / "msrvtt/videodatainfo.json", {"videos": videos, "sentences": sentences})
    lines = [{"clip_name": one["video_id"], "caption": one["caption"]} for one in sentences]
    _write_lines(folder / "msrvtt/retrieval_test.jsonl", lines)
    clips = [numbered(8), numbered(12)]
    questions = [
        {"id": number, "video_id": number, "question": "what is it?", "answer": "red"}
        for number in (0, 1)
    ]
    write_json(folder / "msvd/test_qa.json", questions)
    (folder / "msvd/answer_set.txt").write_text("red\nblue\n", encoding="utf-8")
    (folder / "msrvtt/videos").mkdir()
    for number, clip in enumerate(clips):
        (folder / f"msrvtt/videos/video{number}.mp4").write_bytes(clip)
        (folder / f"msvd/vid{number}.mp4").write_bytes(clip)
    (folder / "clips").mkdir()
    members = {"0.mp4": clips[0], "0.txt": b"a red circle", "1.mp4": clips[1], "1.txt": b"a star"}
    (folder / "clips/00000.tar").write_bytes(_tar(members, "w"))
    columns = {"key": ["one", "two"], "video": clips}
    pq.write_table(pa.table(columns), folder / "videos.parquet")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
