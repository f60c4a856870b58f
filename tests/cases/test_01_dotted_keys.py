"""Case 01: keys with dots come back, through pack and through CapFilt, by us and by webdataset."""

from pathlib import Path

import pytest
import webdataset

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.cli.main import main
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from tests.support.capfilt import FakeModels
from tests.support.generators import run_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_generator("01-dotted-keys", tmp_path_factory.mktemp("case"))


KEYS = ["cam1_2023", "cam1_2024", "cam2"]


def read_both(folder: Path) -> list[tuple[str, str]]:
    """Key and text of every sample, as we read it; webdataset must read the same."""
    shards = expand([str(folder)])
    ours = [s for shard in shards for s in read_shard(shard)]
    assert all(sample.error is None and sample.image for sample in ours)
    theirs = webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=False)
    found = [(row["__key__"], row["txt"].decode(), row["png"]) for row in theirs]
    assert found == [(s.key, s.texts[0], s.image) for s in ours]
    return [(key, text) for key, text, _ in found]


@pytest.mark.parametrize("table", ["table.parquet", "table.csv"])
def test_pack(folder: Path, tmp_path: Path, table: str) -> None:
    assert main(["data", "pack", str(folder / table), str(tmp_path / "out")]) == 0
    texts = ["one red wall", "one blue wall", "a plain wall"]
    assert read_both(tmp_path / "out") == list(zip(KEYS, texts, strict=True))


@pytest.mark.parametrize("table", ["table.parquet", "table.csv"])
def test_capfilt(folder: Path, tmp_path: Path, table: str) -> None:
    job = CapFiltConfig(
        captioner="c",
        filter="f",
        data=(str(folder / table),),
        out=str(tmp_path / "clean"),
        threshold=0.0,
        workers=1,
        batch_size=2,
    )
    run(job, models=FakeModels())
    found = [key for key, _ in read_both(tmp_path / "clean/shards")]
    assert set(found) == {f"{key}-{text}" for key in KEYS for text in ("web", "synthetic-0")}
