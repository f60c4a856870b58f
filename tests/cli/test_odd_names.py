"""Files and folders whose names are not UTF-8 go through every verb; their bytes come back."""

import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.cli.main import main
from blip.config.strict import save
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.objectives.config import ContrastiveConfig
from blip.tasks.config import PretrainConfig
from blip.train.config import OptimizerConfig, TrainConfig
from tests.support.saved_models import save_picture, save_tiny
from tests.support.tiny import TINY


def odd(folder: Path, name: str) -> Path:
    """A path whose last part is Latin-1."""
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name.encode("latin-1")))


def run(*arguments: str | Path) -> None:
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures in a folder, all with odd names and with texts."""
    folder = odd(tmp_path, "été")
    folder.mkdir()
    for number in range(4):
        path = odd(folder, f"é{number}.png")
        save_picture(tmp_path / "plain.png", number).rename(path)
        path.with_suffix(".txt").write_text(f"a red circle {number}", encoding="utf-8")
    return folder


def test_packing_and_cleaning(photos: Path, tmp_path: Path) -> None:
    shards, clean = odd(tmp_path, "é1"), odd(tmp_path, "é2")
    model = odd(tmp_path, "modèle")
    run("convert", save_tiny(tmp_path / "model"), model)
    run("data", "pack", photos, shards)
    (shards / "00000.tar").rename(odd(shards, "à.tar"))
    (shards / "sizes.json").unlink()
    (shards / ".pack.json").unlink(missing_ok=True)
    run("data", "inspect", shards)
    run("data", "index", shards, "--cache", odd(tmp_path, "ç"))
    models = ["--captioner", model, "--filter", model, "--device", "cpu", "--workers", "1"]
    run("capfilt", *models, "--data", shards, "--out", clean, "--threshold", "0")
    run("capfilt", "recut", clean, "--threshold", "0.1", "--out", odd(tmp_path, "é3"))
    (tar,) = (clean / "shards").glob("*.tar")
    assert tar.name == "_xe0.tar"
    with tarfile.open(tar) as archive:
        metas = [
            json.loads(archive.extractfile(name).read())
            for name in archive.getnames()
            if name.endswith(".json")
        ]
    # What is written can be read by libraries that take valid text alone.
    assert all(meta["image_key"].encode() for meta in metas)
    assert len({meta["image_key"] for meta in metas}) == 4


def test_tables(tmp_path: Path) -> None:
    save_picture(tmp_path / "p.png")
    csv, parquet = odd(tmp_path, "é.csv"), odd(tmp_path, "é.parquet")
    csv.write_text("image,caption\np.png,a red circle\n", encoding="utf-8")
    pq.write_table(pa.table({"image": ["p.png"], "caption": ["a red"]}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").rename(parquet)
    for table in (csv, parquet):
        out = tmp_path / f"of{table.suffix}"
        run("data", "pack", table, out)
        assert (out / "00000.tar").is_file()


def test_training(photos: Path, tmp_path: Path) -> None:
    shards, out = odd(tmp_path, "é1"), odd(tmp_path, "é2")
    run("data", "pack", photos, shards)
    tokenizer = Tokenizer.train(["a red circle 0 1 2 3"] * 3, vocabulary_size=100)
    tokenizer.save(photos)
    source = SourceConfig(name="all", shards=(str(shards),))
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    config = PretrainConfig(
        model=replace(TINY, text=text),
        tokenizer=str(photos),
        data=DataConfig(sources=(source,), batch_size=4, image=ImageConfig(size=32)),
        train=TrainConfig(
            steps=2,
            optimizer=OptimizerConfig(warmup_steps=1),
            checkpoint_every=1,
            device="cpu",
        ),
        contrastive=ContrastiveConfig(queue_size=8),
    )
    save(config, odd(tmp_path, "é.json"))
    run("pretrain", odd(tmp_path, "é.json"), "--out", out)
    run("evaluate", out, "--data", shards, "--json")
