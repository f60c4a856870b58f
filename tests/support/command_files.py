"""The files that fuzzed commands find: good and bad ones of every kind that a command reads."""

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from blip.cli.main import main
from blip.config.strict import to_json
from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import save_model
from blip.model.question import QuestionModel
from blip.recipes import pretrain
from tests.support.saved_models import save_tiny, tiny_checkpoint
from tests.support.tiny import TINY


def furnish(folder: Path) -> None:
    """Fill a folder with them; command lines name them relative to it."""
    tiny_checkpoint(folder / "model", ["a red square", "two blue stars on a field"])
    save_tiny(folder / "nlvr", "nlvr")
    (folder / "vqa").mkdir()
    save_question_model(folder / "vqa")
    (folder / "answers.txt").write_text("a red square\ntwo blue stars\n")
    (folder / "tiny.json").write_text(json.dumps(tiny_pretraining(folder / "model")))
    (folder / "photos").mkdir()
    for name, colour in (("p.png", "red"), ("q.jpg", "blue")):
        Image.new("RGB", (40, 40), colour).save(folder / "photos" / name)
        (folder / "photos" / name).with_suffix(".txt").write_text("a red square")
    (folder / "table.csv").write_text("image,caption\nphotos/p.png,a red square\n\x00,\n")
    (folder / "table.tsv").write_text("filepath\ttitle\nphotos/p.png\ta red square\n")
    (folder / "list.json").write_text('[{"image": "photos/p.png", "caption": "a red square"}]')
    (folder / "rows.jsonl").write_text('{"file_name": "photos/p.png", "text": "a"}\n{"a": NaN}\n')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "number.json").write_text("9" * 5000)
    (folder / "broken.json").write_text('{"images": [{"x": [')
    (folder / "latin.txt").write_bytes(b"caf\xe9\n")
    (folder / "labels.csv").write_text("key,match,source\np,1,web\nq,0,web\n")
    (folder / "empty.tar").touch()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 30)
    (folder / "loop").symlink_to("loop")
    with chdir(folder), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert main(["data", "pack", "photos", "shards"]) == 0
        job = ["--captioner", "model", "--filter", "model", "--data", "shards", "--out", "job"]
        index = ["photos", "--out", "pictures", "--checkpoint", "model", "--device", "cpu"]
        assert main(["index", *index]) == 0
        assert main(["capfilt", *job, "--workers", "1", "--device", "cpu", "--threshold", "0"]) == 0


def save_question_model(folder: Path) -> None:
    tokenizer = Tokenizer.train(["a red square two blue stars what"] * 3, vocabulary_size=200)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    save_model(QuestionModel(replace(TINY, text=text, architecture="vqa")), tokenizer, folder)


def tiny_pretraining(tokenizer: Path) -> dict[str, Any]:
    config = pretrain.base()
    data = {"sources": ["shards"], "batch_size": 2, "image": {"size": 32}, "cache": "cache"}
    model = to_json(
        replace(
            TINY, text=replace(TINY.text, vocabulary_size=Tokenizer.load(tokenizer).vocabulary_size)
        )
    )
    kept = {"contrastive": {"queue_size": 4}, "train": {"steps": 1}, "tokenizer": "model"}
    return {**to_json(config), **kept, "model": model, "data": data} | WITHOUT_WEIGHTS


WITHOUT_WEIGHTS = {"vision_weights": None, "text_weights": None}


@contextmanager
def chdir(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
