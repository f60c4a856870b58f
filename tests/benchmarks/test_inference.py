"""The benchmark runs, ours and the peer agree in it, and its figures are the ones it promises."""

import ast
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from blip.data.captions import clean_caption
from blip.data.tokenizer import Tokenizer
from blip.nn.kernels.int8_weight import int8_multiplies
from blip.nn.kernels.onednn import bfloat16_multiplies
from tests.support.benchmarks import run_small

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "inference.py"
SHARED = Path(os.environ.get("BLIP_SHARED", "../shared"))
VOCABULARY, CAPTIONS = SHARED / "bert-base-uncased/vocab.txt", SHARED / "flickr8k/dev.parquet"
RATIOS = ["caption_greedy", "caption_beam3", "caption_nucleus", "match_one_image"]


@pytest.fixture(scope="module")
def printed() -> str:
    pytest.importorskip("transformers")
    return run_small("inference", "--repeats", "1", "--threads", "1")


@pytest.fixture(scope="module")
def result(printed: str) -> dict[str, Any]:
    return json.loads(printed.splitlines()[-1])


def test_both_give_the_same_captions_and_probabilities(result: dict[str, Any]) -> None:
    same = result["same_results"]
    assert set(same) == {"caption_greedy", "caption_beam3", "by_states", "as_original"}
    assert all(same.values())


def test_the_last_line_holds_every_figure(printed: str, result: dict[str, Any]) -> None:
    assert list(result["ratios"]) == RATIOS
    assert set(result) >= {"commit", "machine", "date", "device", "dtype", "threads", "versions"}
    for name, case in result["per_second"].items():
        assert name in printed.splitlines()[-1]
        assert 0 < case["ours"] < case["floor_with_reading"] <= case["floor"]
        # Both are rounded; the ratio comes from the seconds themselves.
        value = {**result["ratios"], **result["more_ratios"]}[name]
        assert value == pytest.approx(case["ours"] / case["peer"], rel=0.02)
        assert f"{value:.2f}" in printed


def test_only_formats_that_the_cpu_has_are_measured(result: dict[str, Any]) -> None:
    has = {"bfloat16": bfloat16_multiplies(), "int8": int8_multiplies()}
    measured = [precision for precision, it_does in has.items() if it_does]
    assert list(result.get("reduced", ())) == measured


@pytest.mark.skipif(
    not (bfloat16_multiplies() and int8_multiplies()),
    reason="this CPU has no instructions for bfloat16 and int8",
)
def test_bfloat16_and_int8_do_the_same_work(result: dict[str, Any]) -> None:
    assert list(result["reduced_ratios"]) == list(result["per_second"])
    for name, ratios in result["reduced_ratios"].items():
        best = result["reduced"][ratios["ours"]][name]
        assert 0 < best["ours"] < best["floor_with_reading"] <= best["floor"]
        assert best["ours"] == max(of[name]["ours"] for of in result["reduced"].values())
        peer = {
            "peer_float32": result["per_second"][name]["peer"],
            "peer_bfloat16": result["reduced"]["bfloat16"][name]["peer"],
        }
        for precision, speed in peer.items():
            assert ratios[precision] == pytest.approx(best["ours"] / speed, rel=0.02)


def test_lengths_are_those_of_the_captions() -> None:
    if not (VOCABULARY.is_file() and CAPTIONS.is_file()):
        pytest.skip(f"captions and vocabulary are not at {SHARED} (set BLIP_SHARED)")
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    (lengths,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LENGTHS"
    ]
    column = parquet.read_table(CAPTIONS, columns=["caption"])["caption"].to_pylist()
    captions = [clean_caption(caption) for five in column for caption in five]
    found = Tokenizer.load(VOCABULARY).encode(captions, 35).visible.sum(dim=1).numpy()
    middles = (np.arange(len(lengths)) + 0.5) / len(lengths) * len(found)
    assert tuple(np.sort(found)[middles.astype(int)].tolist()) == lengths
