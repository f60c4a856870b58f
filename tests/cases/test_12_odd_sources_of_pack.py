"""Case 12: what people hand to `data pack` is read, or refused in one line."""

import shutil
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
    return run_generator("12-odd-sources-of-pack", tmp_path_factory.mktemp("case"))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("metadata.jsonl", ["one", "two"]),
        ("captions.txt", ["one", "two"]),
        ("odd{.tar", ["one"]),
        ("shard.tar.gz", ["one"]),
        ("img2dataset_webp.parquet", ["one"]),
        ("karpathy.json", ["one"]),
    ],
)
def test_what_is_read(folder: Path, tmp_path: Path, name: str, written: list[str]) -> None:
    assert main(["data", "pack", str(folder / name), str(tmp_path / "out")]) == 0
    [shard] = expand([str(tmp_path / "out")])
    assert [sample.texts[0] for sample in read_shard(shard)] == written


def test_what_capfilt_makes_of_an_odd_name_is_opened_by_webdataset(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "odd{.tar", tmp_path / "odd{[*?.tar")
    job = CapFiltConfig(
        captioner="c",
        filter="f",
        data=(str(folder / "odd{.tar"), str(tmp_path / "odd{[*?.tar")),
        out=str(tmp_path / "out"),
        threshold=0.0,
        workers=1,
        batch_size=1,
    )
    run(job, models=FakeModels())
    written = sorted((tmp_path / "out/shards").glob("*.tar"))
    assert [path.name for path in written] == ["odd_.tar", "odd____.tar"]
    rows = list(webdataset.WebDataset(list(map(str, written)), shardshuffle=False))
    assert [row["__key__"] for row in rows] == ["a-web", "a-synthetic-0"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["torn.parquet"], "torn.parquet is not a Parquet file"),
        (["karpathy.json", "--split", "vall"], "has the splits train"),
        (["captions.txt", "--split", "train"], "has no column 'split'"),
        (["odd{.tar", "--split", "train"], "is a tar; allowed with annotation files and tables"),
        (["odd{.tar", "--images", "."], "is a tar; allowed with annotation files and tables"),
        (["a.jpg"], "neither a .tar nor a table (.parquet, .csv, .tsv, .jsonl, "),
        (["captions.txt", "--images", "nowhere"], "--images nowhere: no such folder"),
    ],
)
def test_what_is_refused(
    folder: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, *options = arguments
    assert main(["data", "pack", str(folder / source), str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("out/*"))


@pytest.mark.parametrize("name", ["metadata.jsonl", "captions.txt"])
def test_paths_in_tables_start_where_images_says(folder: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(folder / name, elsewhere)
    command = ["data", "pack", str(elsewhere / name), str(tmp_path / "out")]
    assert main(command) == 1
    assert main([*command, "--images", str(folder)]) == 0
