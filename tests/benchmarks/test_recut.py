"""The ledger that is measured is one that a job could have written."""

from queue import SimpleQueue

from benchmarks.recut import cut, make_ledger
from blip.capfilt.filters.config import JobRules
from blip.capfilt.ledger.columns import count_table
from blip.capfilt.ledger.files import find_ledgers, read_groups, read_rows


def test_the_ledger_is_whole_and_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.recut.ROWS_A_FILE", 600)
    monkeypatch.setattr("benchmarks.recut.GROUP_ROWS", 128)
    make_ledger(tmp_path, 1000)
    ledgers = find_ledgers(tmp_path / "job")
    assert [path.stem for path in ledgers] == ["00000", "00001"]
    counts = [count_table(group) for path in ledgers for group in read_groups(path)]
    assert sum(one.images for one in counts) == 500
    rows = list(read_rows(ledgers))
    assert {row["source"] for row in rows} == {"web", "synthetic"}
    assert len({(row["shard"], row["key"]) for row in rows}) == 500
    answer: SimpleQueue = SimpleQueue()
    cut(tmp_path, JobRules(unique_texts=True), answer)
    _, _, kept = answer.get()
    reaching = {row["text"].lower() for row in rows if row["itm_score"] >= 0.8}
    assert kept == len(reaching)
