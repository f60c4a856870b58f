"""Shards on disk: readable, whole, the same bytes each time."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.scenes.check import check_facts
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene
from blip.data.scenes.write import write_splits
from blip.data.statements import PairStatement, is_official, statements_of
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


def test_pairs_are_drawn_where_statements_are_asked_for_and_change_nothing_else(
    tmp_path: Path,
) -> None:
    write_splits(SMALL, tmp_path / "plain")
    write_splits(replace(SMALL, statements=4), tmp_path / "pairs")
    for split in ("human", "val", "test"):
        plain, pairs = (
            list(read_shard(tmp_path / name / split / "00000.tar")) for name in ("plain", "pairs")
        )
        for one, pair in zip(plain, pairs, strict=True):
            assert (pair.image, pair.texts) == (one.image, one.texts)
            assert pair.meta["scene"] == one.meta["scene"]
            (right,) = pair.more_images
            assert Image.open(io.BytesIO(right)).size == (48, 48)
            stated, fault = statements_of(pair.meta)
            assert (len(stated), fault) == (4, None)
            for statement in stated:
                assert is_official(statement.identifier)
                check_side(statement, pair.meta)
    web = [tmp_path / name / "web/00000.tar" for name in ("plain", "pairs")]
    assert web[0].read_bytes() == web[1].read_bytes()


def check_side(statement: PairStatement, meta: dict[str, Any]) -> None:
    """Facts about one side hold of the scene that is drawn there, or do not."""
    for side, scene in (("left", "scene"), ("right", "right_scene")):
        before, found, facts = statement.text.partition(f"the {side} image shows ")
        if found and not before and "things" not in facts:
            known = Scene.from_json(meta[scene])
            assert check_facts(facts, known).correct == statement.label
