"""Ledger files: the bytes depend on the rows, a sample never lies in two row groups."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.capfilt.ledger import files
from blip.capfilt.ledger.columns import sample_starts
from blip.capfilt.ledger.files import (
    SCHEMA,
    open_ledger,
    read_rows,
    records_to_table,
)
from blip.capfilt.ledger.records import TextRecord
from tests.support.capfilt import web_shard
from tests.support.ledgers import read_ledger
from tests.support.records import encode_ledger, record, samples
from tests.support.shard_job import process


def test_the_ledger_keeps_what_it_is_given(tmp_path):
    web_shard(tmp_path / "in.tar", range(4))
    _, ledger = process(tmp_path / "in.tar", tmp_path / "out")
    assert encode_ledger(ledger) == (tmp_path / "out/ledger/s.parquet").read_bytes()
    assert encode_ledger([])
    rows = list(read_rows([tmp_path / "out/ledger/s.parquet"], ["key", "kept"]))
    assert rows[0] == {"key": "000000", "kept": False}
    assert tuple(SCHEMA.names) == TextRecord.__slots__


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(files, "GROUP_ROWS", 5)
    monkeypatch.setattr(files, "GROUP_CHARACTERS", 60)


@settings(max_examples=40, deadline=None)
@given(found=samples(most=12), cuts=st.sets(st.integers(1, 11)))
def test_bytes_do_not_depend_on_how_many_rows_come_at_a_time(tmp_path_factory, found, cuts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "GROUP_ROWS", 5)
        patch.setattr(files, "GROUP_CHARACTERS", 60)
        folder = tmp_path_factory.mktemp("ledgers")
        for name, edges in (("one", range(len(found) + 1)), ("some", sorted({0, *cuts}))):
            with open_ledger(folder / name) as writer:
                for start, stop in zip(edges, [*edges[1:], len(found)], strict=True):
                    rows = [row for sample in found[start:stop] for row in sample]
                    writer.write(records_to_table(rows))
    assert (folder / "one").read_bytes() == (folder / "some").read_bytes()
    flat = [row for sample in found for row in sample]
    assert list(read_ledger(folder / "one")) == flat
    with pq.ParquetFile(folder / "one") as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    assert sum(len(sample_starts(group)) for group in groups) == len(found)


def test_a_row_group_ends_where_it_is_full(tmp_path, small_groups):
    short = [record(f"{n}", "web", 0, "t", 0.5) for n in range(7)]
    long = [record("8", "web", 0, "t" * 60, 0.5), record("9", "web", 0, "t", 0.5)]
    with open_ledger(tmp_path / "ledger") as writer:
        writer.write(records_to_table([*short, *long]))
    with pq.ParquetFile(tmp_path / "ledger") as file:
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [5, 3, 1]
