"""The results of the run on Flickr8k: results.json and samples.md beside this file.

    python experiments/flickr8k/report.py experiments/flickr8k/run

Photos are named by their keys, and texts that people wrote are left out: they are not ours to
publish.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from blip.capfilt.ledger.files import read_rows
from blip.config.strict import load_json
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.evaluation.evaluate import read_evaluation
from blip.files import write_atomically, write_json
from blip.reports.origin import origin
from blip.reports.tables import capfilt_rows, comparison_rows, noise_rows

HERE = Path(__file__).parent
SHOWN = 40
"""Test photos, and web photos, on the page."""
THRESHOLDS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)


def main() -> int:
    """Read a finished run, write what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished `blip bootstrap flickr8k`")
    run: Path = parser.parse_args().run
    summary, config = load_json(run / "summary.json"), load_json(run / "config.json")
    rows = list(read_rows(sorted((run / "round-1/capfilt/ledger").glob("*.parquet"))))
    truths = {
        sample.key: sample.meta["truth"]
        for shard in expand(config["data"]["web"])
        for sample in read_shard(shard)
    }
    results = {
        **{key: summary[key] for key in ("baseline", "bootstrapped", "capfilt", "seconds")},
        "thresholds": by_threshold(rows, truths),
        "area_under_curve": areas(rows, truths),
        "different_captions": {
            name: len(set(captions_of(run, name).values()))
            for name in ("baseline", "round-2/pretrain")
        },
        **origin(run),
    }
    write_json(HERE / "results.json", results)
    write_atomically(HERE / "samples.md", "\n".join(page(run, rows, truths)) + "\n")
    for table in (comparison_rows(summary), capfilt_rows(summary["capfilt"])):
        for row in table:
            print("| " + " | ".join(row) + " |")
    for row in noise_rows(summary["capfilt"]):
        print("| " + " | ".join(row) + " |")
    return 0


def of_web(rows: list[dict[str, Any]], truths: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of web texts, and whether they match."""
    web = [row for row in rows if row["source"] == "web"]
    scores = np.array([row["itm_score"] for row in web])
    return scores, np.array([truths[row["key"]]["matches"] for row in web])


def by_threshold(rows: list[dict[str, Any]], truths: dict[str, Any]) -> list[dict[str, float]]:
    """What other thresholds would have kept: the ledger has every score."""
    scores, right = of_web(rows, truths)
    found = []
    for threshold in THRESHOLDS:
        kept = scores >= threshold
        found.append(
            {
                "threshold": threshold,
                "kept": float(kept.mean()),
                "precision": float(right[kept].mean()) if kept.any() else float("nan"),
                "recall": float(kept[right].mean()),
            }
        )
    return found


def areas(rows: list[dict[str, Any]], truths: dict[str, Any]) -> dict[str, float]:
    """How often a matching text scores above a noisy one, by kind of noise: 0.5 is chance."""
    web = [row for row in rows if row["source"] == "web"]
    kinds = {truths[row["key"]]["noise"] for row in web} - {None}
    scores: dict[str | None, list[float]] = {kind: [] for kind in (None, *kinds)}
    for row in web:
        scores[truths[row["key"]]["noise"]].append(row["itm_score"])
    true = np.array(scores[None])[:, None]
    return {
        kind: float(
            ((true > np.array(scores[kind])) + 0.5 * (true == np.array(scores[kind]))).mean()
        )
        for kind in sorted(kinds)
    }


def captions_of(run: Path, model: str) -> dict[str, str]:
    """What a model wrote about the test photos, by key."""
    return read_evaluation(run / model / "evaluation")["captions"]


def page(run: Path, rows: list[dict[str, Any]], truths: dict[str, Any]) -> Iterator[str]:
    """Lines of samples.md."""
    yield "# Sample captions, the first photos of each split, not chosen"
    yield ""
    yield "Beam search on test photos, each named by its key in Flickr8k:"
    yield ""
    yield "| photo | noisy baseline | bootstrapped |"
    yield "| --- | --- | --- |"
    baseline, model = captions_of(run, "baseline"), captions_of(run, "round-2/pretrain")
    for key in list(baseline)[:SHOWN]:
        yield f"| {key} | {baseline[key]} | {model[key]} |"
    yield ""
    yield "CapFilt on web photos: what the web text is, its ITM score and the verdict; the"
    yield "synthetic text (nucleus sampling), its score and the verdict:"
    yield ""
    yield "| photo | web text | score | | synthetic text | score | |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    texts: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        texts.setdefault(row["key"], {})[row["source"]] = row
    for key, found in list(texts.items())[:SHOWN]:
        web, synthetic = found["web"], found["synthetic"]
        kind = (truths[key]["noise"] or "of this photo").replace("_", " ")
        scores = format_score(web), format_score(synthetic)
        yield f"| {key} | {kind} | {scores[0]} | {synthetic['text']} | {scores[1]} |"


def format_score(row: dict[str, Any]) -> str:
    """Score and verdict."""
    return f"{row['itm_score']:.2f} | {'kept' if row['kept'] else 'dropped'}"


if __name__ == "__main__":
    sys.exit(main())
