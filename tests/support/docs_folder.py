"""A folder in which the commands of the documentation find what they name, in small."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from blip import Index
from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from tests.support.demo_folder import save_demo
from tests.support.pictures import photo

TEXTS = ("a red circle", "two blue stars", "a red star", "a blue circle")
KEYS = ("000000", "000001", "000016", "000017")
SHARDS = ("human", "web", "val", "test", "train", "flickr30k-test", "coco-val", "coco-test")
MODEL = "runs/demo/round-1/filter"
COPIES = ("base", "retrieval", "flickr30k", "mine", "demo/round-1/pretrain")


def save_docs_folder(folder: Path) -> Path:
    """Write checkpoints that know nothing, four pictures with texts in every form, and results."""
    save_demo(folder)
    for copy in COPIES:
        shutil.copytree(folder / MODEL, folder / "runs" / copy)
    for name in ("photos", "photos-val", "more-photos", "crawl", "coco", "holiday"):
        (folder / name).mkdir()
        _save_pictures(folder / name)
    _save_pictures(folder)
    shutil.copy(folder / "clip.mp4", folder / "holiday")
    samples = [
        Sample(key, photo(number), (text,), extension="png")
        for number, (key, text) in enumerate(zip(KEYS, TEXTS, strict=True))
    ]
    for name in SHARDS:
        write_shards(samples, folder / "shards" / name, per_shard=2)
    write_shards(samples, folder / "shards", per_shard=2)
    for web in ("web", "runs/demo/data/web"):
        write_shards(samples, folder / web, per_shard=2)
    _save_lists(folder)
    models = ["--captioner", str(folder / MODEL), "--filter", str(folder / MODEL)]
    data = ["--data", str(folder / "web"), "--workers", "1", "--threshold", "0"]
    assert main(["capfilt", *models, *data, "--out", str(folder / "clean")]) == 0
    Index.build([str(folder / "photos")], folder / "photos.index", folder / MODEL)
    Index.build([str(folder / "holiday")], folder / "holiday.index", folder / MODEL, frames=16)
    return folder


def _save_pictures(folder: Path) -> None:
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.png").write_bytes(photo(number))
        (folder / f"{number}.png.txt").write_text(text)


def _save_lists(folder: Path) -> None:
    rows = [{"image": f"{number}.png", "caption": text} for number, text in enumerate(TEXTS)]
    (folder / "annotated.json").write_text(json.dumps(rows))
    images = [
        {"filename": row["image"], "split": "val", "sentences": [{"raw": row["caption"]}]}
        for row in rows
    ]
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images}))
    columns = {
        "image": [{"bytes": photo(number), "path": None} for number in range(len(TEXTS))],
        "caption": list(TEXTS),
    }
    for name in ("train", "mine"):
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    labels = "".join(f"{key},web,1\n" for key in KEYS)
    (folder / "labels.csv").write_text(f"key,source,match\n{labels}")
    (folder / "answers.txt").write_text("yes\nno\nred\n")
    (folder / "history.tsv").write_text("is it big?\tyes\n")
