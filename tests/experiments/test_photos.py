"""Real photos: equal budgets, labels, the score and the threshold of val, tables that fit."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from blip.capfilt.filters.config import FilterRules
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.inference.matcher import Scores
from blip.metrics.intervals import Statistic
from experiments.judging import Resampling
from experiments.photos import filtering, labels, page, run, settings
from experiments.photos.__main__ import HERE
from experiments.photos.gains import subtract
from experiments.results import put_table
from tests.support.capfilt_command import jpeg

SHARED = Path(os.environ.get("BLIP_SHARED", "../shared"))
PLACES = settings.Places(Path("vit"), Path("bert/w"), Path("data"), Path("out"), Path("shared"))


def test_both_trainings_differ_in_the_web_pairs_alone() -> None:
    noisy, kept = (settings.pretraining(PLACES, Path(web), 3) for web in ("noisy", "kept"))
    assert noisy.train.steps == settings.STEPS["pretrain"]
    assert [source.shards for source in kept.data.sources] == [PLACES.human, ("kept",)]
    assert replace(kept, data=noisy.data) == noisy
    assert noisy.tokenizer == "bert/vocab.txt"
    for tuned in (settings.captioning, settings.filtering):
        config = tuned(PLACES, Path("out/baseline"), 3)
        assert [source.shards for source in config.data.sources] == [PLACES.human]
    assert settings.captioning(PLACES, Path("x"), 0, 0.01).train.steps == 2


def test_the_filtered_data_is_what_was_kept_of_the_web_texts() -> None:
    ledger = pa.table(
        {
            "source": ["web", "synthetic", "web", "synthetic"],
            "kept": pa.array([True, True, False, None]),
        }
    )
    assert run.kept_of_web(ledger).tolist() == [True, False, False, False]


def test_labels_are_of_two_hundred_pictures() -> None:
    given = labels.read_table()
    assert Counter(given.values()) == {"right": 134, "poor": 42, "wrong": 24}
    path = SHARED / "webalt/train.parquet"
    if not path.is_file():
        pytest.skip(f"no alt texts at {path}")
    assert given.keys() <= set(parquet.read_table(path, columns=["key"])["key"].to_pylist())


@pytest.mark.parametrize("rows", ["a,right\na,wrong\n", "a,good\n"])
def test_a_table_with_other_labels_is_refused(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"key,label\n{rows}", encoding="utf-8")
    with pytest.raises(ValueError, match="each key once, with one of right, poor, wrong"):
        labels.read_table(path)


def test_labelled_rows_are_read_both_ways(tmp_path: Path) -> None:
    rows = [{"key": key, "caption": "a"} for key in ("p", "q", "r", "s")]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "web.parquet")
    table = tmp_path / "labels.csv"
    table.write_text("key,label\ns,wrong\nq,poor\np,right\n", encoding="utf-8")
    filtering.write_labelled(tmp_path / "web.parquet", tmp_path / "out.parquet", table)
    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["key"], row["match"], row["not_wrong"]) for row in found] == [
        ("p", True, True),
        ("q", False, True),
        ("s", False, False),
    ]


class Matcher:
    """ITM is the same for all; the cosine is higher for a photo's own captions."""

    def scores(self, images, texts, batch_size):
        return [
            [Scores(0.5, (0.1 if f"photo {n} " in f"{text} " else -0.1)) for text in row]
            for n, row in enumerate(texts)
        ]


def test_val_chooses_the_score_and_the_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [
        Sample(f"{n}", jpeg(n), tuple(f"photo {n} {word}" for word in "abc")) for n in range(4)
    ]
    (tmp_path / "val").mkdir()
    write_shards(samples, tmp_path / "val")
    monkeypatch.setattr(filtering.Matcher, "load", lambda _: Matcher())
    found = filtering.choose_threshold(PLACES._replace(data=tmp_path))
    assert (found["score"], found["thresholds"]) == ("itc", {"itm": 0.5, "itc": 0.1})
    assert found["val"]["texts"] == 24
    assert [found["val"][name]["area"][0] for name in ("itm", "itc")] == [50.0, 100.0]
    assert filtering.rules(found) == {"threshold": 0.0, "rules": FilterRules(min_itc=0.1)}
    assert filtering.rules({**found, "score": "itm"}) == {"threshold": 0.5}


def results() -> dict[str, Any]:
    interval = [12.34, 11.0, None]
    recalls = dict.fromkeys((*page.RECALLS, "mean"), interval)
    counts = {"images": 500, "texts": 2500, "resamples": 2000, "candidates": 10}
    judged = {
        **counts,
        "retrieval": dict.fromkeys(page.RANKED, recalls),
        "caption": {"bleu4": interval, "cider": interval},
    }
    figures = {"texts": 7, **dict.fromkeys(("itm", "itc"), dict.fromkeys(page.FILTER, interval))}
    kept = {"web_kept": 1, "web_dropped": 3, "synthetic_kept": 0, "synthetic_dropped": 0}
    return {
        **{"seed": 0, "commit": "abc", "machine": "2 cores", "date": "2026-01-01"},
        "steps": {"pretrain": 280, "captioner": 40, "filter": 20},
        "seconds": {"baseline": 5, "captioner": 6, "filter": 7, "bootstrapped": 8},
        "judged": {"baseline": judged, "bootstrapped": judged},
        "gains": {
            "bootstrapped": dict.fromkeys(
                (*(f"{by}_mean" for by in page.RANKED), "cider", "bleu4"), interval
            )
        },
        "capfilt": {**kept, "kept_of_noise": {"seo": {"texts": 4, "kept": 2}}},
        "capfilt_webalt": kept,
        "threshold": {"score": "itc", "thresholds": {"itm": 0.3, "itc": 0.1}, "val": figures},
        "planted": figures,
        "synthetic": {kind: {"cider": interval} for kind in ("kept", "dropped")},
        "labelled": {"match": figures, "not_wrong": figures},
    }


def test_tables_go_into_the_page() -> None:
    lines = page.page(results())
    text = put_table((HERE / "README.md").read_text("utf-8"), "photos", "\n".join(lines))
    assert "baseline 280 (5 s), captioner 40 (6 s)" in text
    assert "| web texts kept | 1 of 4 (25.0 %) | 1 of 4 (25.0 %) |" in text
    assert "12.3 (11.0 to -)" in text
    assert "| bootstrapped | 12.3 (11.0 to -) | 12.3 (11.0 to -) |" in text
    assert "CapFilt keeps by ITC" in text
    for table in text.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows}) <= 1, table


def test_gains_are_of_the_same_samples() -> None:
    def level(of: int) -> Statistic:
        return lambda weights: {"cider": weights @ np.arange(4.0) + of}

    (found,) = Resampling().find(subtract(level(3), level(1)), 4).values()
    assert found == [2.0, 2.0, 2.0]


def test_intervals_of_both_scores() -> None:
    right = np.array([True, False, True, False])
    itm, itc = np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.9, 0.1, 0.8, 0.2])
    scored = filtering.Scored(itm, itc, right, np.arange(4))
    found = scored.figures({"itm": 0.5, "itc": 0.5})
    assert [found[name]["area"][0] for name in ("itm", "itc")] == [75.0, 100.0]
    assert [found[name]["precision"][0] for name in ("itm", "itc")] == [50.0, 100.0]
    assert "itc_area" not in found["itm"]
