"""The Flickr8k splits: who gets which captions, and how much noise is planted."""

import importlib.util
import io
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.errors import UsageError

SCRIPT = Path(__file__).parents[2] / "experiments" / "flickr8k" / "prepare.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_flickr8k", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write_table(path: Path, prefix: str, count: int) -> None:
    rows = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(buffer, "JPEG")
        captions = [f"Photo {prefix} {number} , told for the {i} time ." for i in range(5)]
        rows.append(
            {"key": f"{prefix}-{number:04d}", "image": buffer.getvalue(), "caption": captions}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def small(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(script, "HUMAN", 10)
    monkeypatch.setattr(script, "VAL", 4)
    write_table(tmp_path / "flickr8k/train.parquet", "train", 60)
    write_table(tmp_path / "flickr8k/dev.parquet", "dev", 12)
    monkeypatch.setenv("BLIP_SHARED", str(tmp_path))
    return tmp_path


def samples(folder: Path) -> list[Sample]:
    return [sample for shard in expand([str(folder)]) for sample in read_shard(shard)]


def test_splits_are_disjoint_and_truth_is_planted(script: ModuleType, small: Path) -> None:
    out = small / "data"
    assert script.main(["--out", str(out)]) == 0
    of = {split: samples(out / split) for split in ("human", "web", "val", "test")}
    assert {split: len(found) for split, found in of.items()} == {
        "human": 10,
        "web": 50,
        "val": 4,
        "test": 8,
    }
    keys = [sample.key for found in of.values() for sample in found]
    assert len(keys) == len(set(keys))
    assert all(len(s.texts) == 5 for split in ("human", "val", "test") for s in of[split])
    noisy = [s for s in of["web"] if not s.meta["truth"]["matches"]]
    assert len(noisy) == 20
    for sample in of["web"]:
        assert len(sample.texts) == 1
        number = int(sample.key.split("-")[1])
        is_own = sample.texts[0].startswith(f"Photo train {number} ,")
        assert is_own == sample.meta["truth"]["matches"]


def read_files(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_same_seed_same_bytes_and_another_seed_others(script: ModuleType, small: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        script.prepare(small / "flickr8k", small / name, seed)
    a, b, c = (read_files(small / name) for name in "abc")
    assert a == b
    assert a != c


def test_absent_tables_are_one_clear_line(
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BLIP_SHARED", str(tmp_path))
    assert script.main(["--out", str(tmp_path / "out")]) == 2
    assert "BLIP_SHARED" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_boilerplate_has_many_forms(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for spoil in script.SPOIL.values():
        assert len({spoil(rng) for _ in range(100)}) > 15


def test_photos_of_the_real_tables(script: ModuleType, tmp_path: Path) -> None:
    source = Path(os.environ.get("BLIP_SHARED", "../shared")) / "flickr8k"
    if not source.is_dir():
        pytest.skip(f"{source} is absent; set BLIP_SHARED")
    counts = script.prepare(source, tmp_path / "data")
    assert (counts["human"], counts["val"]) == (1000, 200)
    assert counts["web"] - counts["web_true"] == round(0.4 * counts["web"])
    with pytest.raises(UsageError, match="absent"):
        script.prepare(tmp_path, tmp_path / "data")
