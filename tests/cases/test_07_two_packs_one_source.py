"""Case 07: pictures of two collections that are numbered alike are different images."""

from pathlib import Path

from blip.data.readers.sources import read_samples
from blip.data.writers.shards import write_shards
from tests.support.generators import run_generator
from tests.support.pairs import index_pairs


def test_row_numbers_of_two_tables_do_not_meet(tmp_path: Path) -> None:
    folder = run_generator("07-two-packs-one-source", tmp_path)
    packs = []
    for name in "ab":
        write_shards(read_samples(str(folder / f"{name}.csv")), folder / f"s{name}")
        packs.append(str(folder / f"s{name}"))
    index = index_pairs(packs)
    assert index.image_ids == [0, 1, 2, 3, 4, 5]
