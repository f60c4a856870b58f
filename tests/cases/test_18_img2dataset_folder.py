"""Case 18: img2dataset's tables and statistics beside pictures and tars are no data."""

import shutil
from pathlib import Path

import pytest

from blip.capfilt.shards.source import find_shards
from blip.capfilt.shards.source import read_samples as read_shard_of_job
from blip.data.readers.sources import read_samples
from blip.errors import UsageError
from tests.support.generators import run_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_generator("18-img2dataset-folder", tmp_path_factory.mktemp("case"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("files", ["files-000000000"]),
        ("tars", ["00000"]),
        ("tars/*", ["00000"]),
        ("files/*", ["00000-000000000"]),
    ],
)
def test_capfilt_and_pack_agree(folder: Path, pattern: str, names: list[str]) -> None:
    tasks = find_shards([str(folder / pattern)], 100)
    assert [task.name for task in tasks] == names
    of_job = [sample for task in tasks for sample in read_shard_of_job(task)]
    packed = list(read_samples(str(folder / pattern)))
    assert of_job == packed
    assert [(s.texts, s.error) for s in packed] == [(("text 0",), None), (("text 1",), None)]


def test_the_table_alone_says_to_download_first(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="download with img2dataset first"):
        find_shards([str(folder / "files/00000.parquet")], 100)
    # A folder with such tables and nothing else says so, too.
    (tmp_path / "urls").mkdir()
    shutil.copy(folder / "files/00000.parquet", tmp_path / "urls")
    with pytest.raises(UsageError, match="download with img2dataset first"):
        find_shards([str(tmp_path / "urls")], 100)
