"""A threshold by labels: the best there is, by counting; what cannot be used is reported."""

import csv
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.capfilt.calibrate import Share, make_curve
from blip.capfilt.ledger.labels import find_scores, read_labels
from blip.cli.main import main
from blip.errors import UsageError
from tests.support.records import encode_ledger, record

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.3001, 0.5, 0.9, 1.0]), st.booleans()), min_size=1
)


@given(pairs=PAIRS, wanted=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_no_threshold_is_better_than_the_chosen_one(pairs, wanted):
    scores, matches = (np.array(column) for column in zip(*pairs, strict=True))
    curve = make_curve(scores, matches, "itm_score")
    by_count = {}
    for threshold in {score for score, _ in pairs}:
        kept = [match for score, match in pairs if score >= threshold]
        by_count[threshold] = (sum(kept), len(kept))
    assert {p.threshold: (p.precision.part, p.precision.whole) for p in curve.points} == by_count
    enough = [right for right, kept in by_count.values() if right / kept >= wanted]
    chosen = curve.reaching(wanted)
    if not enough:
        assert chosen is None
        return
    assert chosen.precision.part == max(enough)
    assert chosen.recall.whole == sum(matches)
    sure = curve.surely_reaching(wanted)
    assert sure is None or sure.precision.part <= chosen.precision.part


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    # By the formula's roots: p of |share - p| = z sqrt(p (1 - p) / n).
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (95, 100, 0.8882, 0.9785), (3, 3, 0.4385, 1.0)],
)
def test_wilson_interval(part, whole, low, high):
    found = Share(part, whole).interval
    assert found == pytest.approx((low, high), abs=1e-4)
    for end in found:
        if 0 < end < 1:
            spread = 1.959964 * math.sqrt(end * (1 - end) / whole)
            assert abs(part / whole - end) == pytest.approx(spread, abs=1e-9)
    assert Share(0, 0).interval == (0.0, 1.0)


def ledger(folder, shards=("s",)):
    """Scores 0, 0.01, ..., 0.99 of web texts; those from 0.5 match, but for every tenth."""
    for shard in shards:
        rows = [
            record(f"{n:03d}", "web", 0, f"text {n}", n / 100, itc=round(n / 100 - 0.5, 6))
            for n in range(100)
        ]
        rows.append(record("mute", "web", 0, "", None))
        for row in rows:
            object.__setattr__(row, "shard", shard)
        (folder / "job/ledger").mkdir(parents=True, exist_ok=True)
        (folder / f"job/ledger/{shard}.parquet").write_bytes(encode_ledger(rows))
    return [folder / f"job/ledger/{shard}.parquet" for shard in shards]


def labels(**more) -> list[dict]:
    rows = [
        {"key": f"{n:03d}", "text": f"text {n}", "match": int(n >= 50 and n % 10 != 0)}
        for n in range(100)
    ]
    return [{**row, **more} for row in rows]


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_verb_chooses_writes_and_tells(tmp_path, capsys):
    ledger(tmp_path)
    path = write_csv(tmp_path / "labels.csv", labels())
    asked = ["capfilt", "calibrate", str(tmp_path / "job"), "--labels", str(path)]
    assert main([*asked, "--target-precision", "0.9"]) == 0
    printed = capsys.readouterr().out
    assert "100 labelled texts, 45 of them matches." in printed
    assert "**Threshold 0.51**: precision 0.918 (45 of 49; 95 % interval 0.808 to 0.968)" in printed
    assert "To be sure of 0.9 (the lower end of the interval)" in printed
    found = json.loads((tmp_path / "job/calibration/calibration.json").read_text())
    assert (found["threshold"], found["chosen"]["recall"]["value"]) == (0.51, 1.0)
    svg = (tmp_path / "job/calibration/calibration.svg").read_bytes()
    assert b"<svg" in svg
    assert main([*asked, "--target-precision", "0.9"]) == 0, "the same again replaces nothing"
    other = [*asked, "--target-precision", "0.9", "--json", "--score", "itc_cosine"]
    capsys.readouterr()
    assert main(other) == 2
    assert "calibration.json already exists" in capsys.readouterr().err
    assert (tmp_path / "job/calibration/calibration.svg").read_bytes() == svg
    assert main([*other, "--overwrite"]) == 0
    assert json.loads(capsys.readouterr().out)["threshold"] == 0.01
    assert main([*asked, "--target-precision", "0.9", "--overwrite"]) == 0
    assert (tmp_path / "job/calibration/calibration.svg").read_bytes() == svg, "the same again"


def test_a_precision_out_of_reach_is_an_error_that_says_what_there_is(tmp_path, capsys):
    ledger(tmp_path)
    rows = [{**row, "match": int(n % 2)} for n, row in enumerate(labels())]
    path = write_csv(tmp_path / "labels.csv", rows[:-1])
    out = str(tmp_path / "out")
    asked = [str(tmp_path / "job/ledger"), "--labels", str(path), "--out", out]
    assert main(["capfilt", "calibrate", *asked]) == 1
    captured = capsys.readouterr()
    assert "precision 0.95 is not reached: at most 0.5" in captured.err
    assert "**Not reached.**" in captured.out
    assert json.loads((tmp_path / "out/calibration.json").read_text())["threshold"] is None


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_labels_of_every_kind_say_the_same(tmp_path, kind):
    rows = [{"key": "001", "source": "web", "match": 1}, {"key": "002", "text": "a, b", "match": 0}]
    path = tmp_path / f"labels.{kind}"
    columns = ("key", "source", "text", "match")
    if kind == "parquet":
        full = [{name: row.get(name) for name in columns} for row in rows]
        pq.write_table(pa.Table.from_pylist(full), path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8-sig")
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    found = read_labels(path)
    assert [(label.key, label.source, label.text, label.match) for label in found] == [
        ("001", "web", None, True),
        ("002", None, "a, b", False),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no labels"),
        ("key,match\na,1\n", "row 1 must have key, match, and text or source; it has key, match"),
        ("key,source,match\na,web,2\n", "row 1: match must be 0 or 1, got '2'"),
        ("key,source,match\na,we,1\n", "source must be web or synthetic, got 'we'"),
        ("key,source,number,match\na,web,x,1\n", "number must be 0, 1, ..., got 'x'"),
    ],
)
def test_labels_that_cannot_be_read_are_named(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_labels(tmp_path / "labels.csv")


def test_a_row_of_labels_that_cannot_be_read_costs_itself_alone(tmp_path):
    faults: list[str] = []
    (tmp_path / "l.csv").write_bytes(
        b'\xef\xbb\xbfkey;text;match\n1.0;"a;1\n2.0;b;0\n3;caf\xe9;1\n4;c;1;5\n'
    )
    found = read_labels(tmp_path / "l.csv", faults)
    assert [(label.key, label.text, label.match) for label in found] == [("2", "b", False)]
    assert [fault.split("l.csv, ")[1] for fault in faults] == [
        "row 1: broken_row: a quote is not closed",
        "row 3: text is not UTF-8; save the file as UTF-8",
        "row 4: broken_row: 4 cells, and 3 columns",
    ]
    faults.clear()
    (tmp_path / "l.jsonl").write_text('{"key": "a\u2028", "text": "b", "match": 1}\n{\n[]\n')
    found = read_labels(tmp_path / "l.jsonl", faults)
    assert [(label.key, label.text) for label in found] == [("a", "b")]
    assert [fault.split(": ", 1)[1] for fault in faults] == [
        "broken_row: not JSON",
        "broken_row: not an object",
    ]


def test_empty_cells_of_labels_are_nothing(tmp_path):
    nan = float("nan")
    rows = [
        {"key": 1.0, "text": nan, "source": "web", "number": 0.0, "match": 1.0, "shard": nan},
        {"key": "b", "text": nan, "match": 1},
    ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    faults: list[str] = []
    (label,) = read_labels(tmp_path / "l.jsonl", faults)
    assert (label.key, label.text, label.number, label.shard) == ("1", None, 0, None)
    assert [fault.split("l.jsonl, ")[1] for fault in faults] == [
        "row 2 must have key, match, and text or source; it has key, match"
    ]


def test_labels_are_brought_together_with_the_ledger(tmp_path, capsys):
    ledgers = ledger(tmp_path)
    rows = [
        {"key": "010", "source": "web", "match": 1},
        {"key": "mute", "source": "web", "match": 1},
        {"key": "nobody", "source": "web", "match": 1},
        {"key": "011", "source": "synthetic", "match": 1},
    ]
    found = find_scores(ledgers, read_labels(write_csv(tmp_path / "l.csv", rows)))
    assert [(text.itm_score, text.match) for text in found.texts] == [(0.1, True)]
    assert (found.unscored, [label.key for label in found.missing]) == (1, ["nobody", "011"])
    strange = write_csv(tmp_path / "s.csv", [{"key": "x", "text": "y", "match": 1}])
    asked = ["capfilt", "calibrate", str(tmp_path / "job"), "--labels"]
    assert main([*asked, str(strange)]) == 2
    assert "no label of" in capsys.readouterr().err
    double = write_csv(tmp_path / "d.csv", [{**rows[0], "match": n} for n in (0, 1)])
    assert main([*asked, str(double)]) == 1
    assert "two labels of the text 'text 10' of 010 differ" in capsys.readouterr().err


def test_a_key_in_two_shards_needs_the_shard(tmp_path, capsys):
    ledgers = ledger(tmp_path, shards=("s", "t"))
    path = write_csv(tmp_path / "l.csv", labels())
    assert main(["capfilt", "calibrate", str(tmp_path / "job"), "--labels", str(path)]) == 1
    assert "key '000' is in the shards s and t; add a column `shard`" in capsys.readouterr().err
    found = find_scores(ledgers, read_labels(write_csv(tmp_path / "l.csv", labels(shard="t"))))
    assert len(found.texts) == 100


def test_bad_rows_and_ledgers_cost_themselves_alone(tmp_path, capsys):
    ledger(tmp_path, shards=("s", "t"))
    (tmp_path / "job/ledger/t.parquet").write_bytes(b"PAR1 broken off")
    rows = [
        *labels(),
        {"key": "000", "text": "text 0", "match": 1},
        {"key": "001", "text": "text 1", "match": "perhaps"},
    ]
    path = write_csv(tmp_path / "labels.csv", rows)
    asked = ["capfilt", "calibrate", str(tmp_path / "job"), "--labels", str(path)]
    assert main([*asked, "--target-precision", "0.9"]) == 0
    captured = capsys.readouterr()
    assert "99 labelled texts, 45 of them matches." in captured.out
    assert "left out: " in captured.err
    found = json.loads((tmp_path / "job/calibration/calibration.json").read_text())
    assert found["threshold"] == 0.51
    assert [fault.split(str(tmp_path))[-1].split(":")[0] for fault in found["left_out"]] == [
        "/labels.csv, row 102",
        "/job/ledger/t.parquet is not a whole Parquet file",
        "two labels of the text 'text 0' of 000 differ",
    ]


def test_a_source_and_words_fit_whatever_number(tmp_path):
    (tmp_path / "job/ledger").mkdir(parents=True)
    rows = [record("a", "synthetic", n, f"text {n}", n / 10) for n in range(3)]
    path = tmp_path / "job/ledger/s.parquet"
    path.write_bytes(encode_ledger(rows))

    def scores(**label) -> list[float]:
        labels = write_csv(tmp_path / "l.csv", [{"key": "a", "match": 1, **label}])
        return [text.itm_score for text in find_scores([path], read_labels(labels)).texts]

    assert scores(source="synthetic", text="text 2") == [0.2]
    assert scores(source="synthetic", text="text 2", number=1) == []
    assert scores(source="web", text="text 2") == []
    assert scores(source="synthetic") == [0.0]
    assert scores(source="synthetic", number=1) == [0.1]
