"""Shards on disk: readable, whole, the same bytes each time."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.scenes.check import check_facts
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene
from blip.data.scenes.write import write_splits
from blip.errors import UsageError

SMALL = ScenesConfig(human=6, web=12, val=3, test=4, captions=5)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.tar"))}


def test_same_bytes_each_time_and_others_for_another_seed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        counts = write_splits(SMALL, tmp_path / name)
        assert counts == {"human": 6, "web": 12, "val": 3, "test": 4}
    write_splits(replace(SMALL, seed=1), tmp_path / "three")
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert list(one) == [f"{split}/00000.tar" for split in ("human", "test", "val", "web")]
    assert one == two
    assert all(one[name] != three[name] for name in one)


def test_scenes_of_other_settings_are_replaced_on_request_alone(tmp_path: Path) -> None:
    write_splits(SMALL, tmp_path)
    write_splits(SMALL, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.tar")}
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"other settings \(seed 1, was 0\); --overwrite"):
        write_splits(replace(SMALL, seed=1), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.tar")} == before
    write_splits(replace(SMALL, seed=1), tmp_path, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.tar")} != before
    assert (tmp_path / "notes.txt").exists()


def test_shards_that_were_there_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "human").mkdir()
    (tmp_path / "human/00000.tar").write_bytes(b"mine")
    with pytest.raises(UsageError, match="holds human, which `blip data scenes` did not make"):
        write_splits(SMALL, tmp_path, overwrite=True)
    assert (tmp_path / "human/00000.tar").read_bytes() == b"mine"


def test_what_is_written_can_be_read_and_judged(tmp_path: Path) -> None:
    write_splits(SMALL, tmp_path)
    for split in ("human", "web", "val", "test"):
        for shard in expand([str(tmp_path / split)]):
            for sample in read_shard(shard):
                assert sample.error is None
                assert sample.image is not None
                image = Image.open(io.BytesIO(sample.image))
                assert image.size == (48, 48)
                assert np.asarray(image).std() > 1
                scene = Scene.from_json(sample.meta["scene"])
                if split == "web":
                    assert len(sample.texts) == 1
                    truth = sample.meta["truth"]
                    assert truth["matches"] == check_facts(sample.texts[0], scene).correct
                else:
                    assert len(sample.texts) == 5
                    assert "truth" not in sample.meta
                    assert all(check_facts(text, scene).correct for text in sample.texts)
