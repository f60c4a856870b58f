"""A folder in which the commands of the documentation find what they name, in small."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from blip import Index
from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from tests.support.demo_folder import save_demo
from tests.support.docs_files import ROOT, TEXTS, save_published_files
from tests.support.initial_weights import bert, saved, timm_layout, vit
from tests.support.pictures import photo

KEYS = ("000000", "000001", "000016", "000017")
SHARDS = ("human", "web", "val", "test", "train", "flickr30k-test", "coco-val", "coco-test")
MODEL = "runs/demo/round-1/filter"
COPIES = ("base", "retrieval", "flickr30k", "mine", "demo/round-1/pretrain")
PUBLISHED = ("coco-train", "coco-restval", "sbu", "cc3m", "cc12m", "laion")
PUBLISHED += ("flickr30k-train", "flickr8k-train")
PHOTOS = tuple(f"experiments/flickr8k/data/{part}" for part in ("human", "web", "val", "test"))


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
    samples = _samples()
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


def save_documented_world(folder: Path) -> Path:
    """The same with what trainings of the paper's sizes read: published files, shards, weights."""
    save_docs_folder(folder)
    for place in ("runs/demo", "photos.index", "holiday.index"):
        shutil.rmtree(folder / place)
    save_published_files(folder)
    shutil.copytree(folder / "runs/base", folder / "runs/base_129m")
    shutil.copytree(folder / "runs/visdial", folder / "runs/visdial_written")
    _save_weights(folder)
    questions = [{"question_id": 1, "text": "what is it?", "answers": ["red"]}]
    for place in (*(f"shards/{name}" for name in PUBLISHED), "cc12m", "laion", "x", *PHOTOS):
        write_shards(_samples(), folder / place, per_shard=2)
    asked = [replace(sample, meta={"questions": questions}) for sample in _samples()]
    write_shards(asked, folder / "shards/vg", per_shard=2)
    for listed, name, images in (
        ("v2_OpenEnded_mscoco_train2014_questions.json", "vqa-train", "coco"),
        ("v2_OpenEnded_mscoco_val2014_questions.json", "vqa-val", "coco"),
        ("nlvr2/train.json", "nlvr2-train", "nlvr2"),
        ("nlvr2/dev.json", "nlvr2-dev", "nlvr2"),
        ("nlvr2/test1.json", "nlvr2-test1", "nlvr2"),
        ("visdial_1.0_train.json", "visdial-train", "coco"),
        ("visdial_1.0_val.json", "visdial-val", "VisualDialog_val2018"),
        ("msrvtt/videodatainfo.json", "msrvtt", "msrvtt/videos"),
    ):
        packed = [str(folder / listed), str(folder / "shards" / name)]
        assert main(["data", "pack", *packed, "--images", str(folder / images)]) == 0
    (folder / "photos/4.jpg").write_bytes(photo(0, "JPEG"))
    (folder / "last-run").write_text("")
    os.utime(folder / "last-run", (0, 0))
    job = {"captioner": "runs/captioner", "filter": "runs/filter"}
    (folder / "job.json").write_text(json.dumps(job))
    shutil.copytree(ROOT / "docs/slurm", folder / "docs/slurm")
    return folder


def _save_weights(folder: Path) -> None:
    """A ViT and a BERT to start fresh models from."""
    saved(timm_layout(vit()), folder / "vit.safetensors")
    model = bert()
    (folder / "bert").mkdir()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    heads = {"num_attention_heads": model.config.num_attention_heads}
    (folder / "bert/config.json").write_text(json.dumps(heads), encoding="utf-8")
    saved(state, folder / "bert/model.safetensors")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*" ".join(TEXTS).split()})]
    unused = [f"[unused{number}]" for number in range(model.config.vocab_size - len(words))]
    (folder / "bert/vocab.txt").write_text("\n".join(words + unused), encoding="utf-8")


def _samples() -> list[Sample]:
    return [
        Sample(key, photo(number), (text,), extension="png")
        for number, (key, text) in enumerate(zip(KEYS, TEXTS, strict=True))
    ]


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
