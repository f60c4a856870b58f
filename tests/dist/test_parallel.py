"""Two processes with half of each batch train what one trains with the whole, in every respect."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.dist_program import (
    ANSWERED,
    CONVERSED,
    JUDGED,
    RESUMED,
    WAYS,
    answer,
    converse,
    pretrain,
    train_every_way,
)
from tests.support.ranks import start_ranks

LearntInOne = tuple[dict[str, Any], Path]
MEASURED = {
    "samples_per_second",
    "data_wait",
    "memory_gib",
    "teraflops",
    "flops_utilisation",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, shards: Path, words: Path) -> Path:
    out = tmp_path_factory.mktemp("shared")
    for process in start_ranks(2, train_every_way, out, shards, words):
        process.join(300)
        assert process.exitcode == 0
    return out


@pytest.fixture(scope="module")
def learn_in_one(
    tmp_path_factory: pytest.TempPathFactory, shards: Path, words: Path
) -> Callable[[int], LearntInOne]:
    """What one process learns in steps of so many parts, and its folder; each is run once."""

    @cache
    def run(accumulation: int) -> LearntInOne:
        folder = tmp_path_factory.mktemp("alone")
        return pretrain(folder, shards, words, accumulation=accumulation), folder

    return run


@pytest.fixture(scope="module")
def conversed(tmp_path_factory: pytest.TempPathFactory, shards: Path, words: Path) -> LearntInOne:
    """What one process learns of dialogues, and its folder."""
    folder = tmp_path_factory.mktemp("conversed")
    return converse(folder, shards, words), folder


def losses(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


@pytest.mark.parametrize("way", [*WAYS, RESUMED])
def test_two_processes_train_as_one(
    shared: Path, learn_in_one: Callable[[int], LearntInOne], way: str
) -> None:
    learnt, folder = learn_in_one(WAYS.get(way, {}).get("accumulation", 1))
    assert learnt.keys() == {"gradients", "weights", "momentum", "queue"}
    compare(shared, folder, way, learnt)


def test_two_processes_learn_questions_and_answer_them_as_one(
    shared: Path, tmp_path: Path, shards: Path, words: Path
) -> None:
    compare(shared, tmp_path, ANSWERED, answer(tmp_path, shards, words))
    measured = [line for line in losses(tmp_path) if "validation_accuracy" in line]
    assert [line["step"] for line in measured] == [2, 4]
    assert all(0 < line["validation_accuracy"] < 100 for line in measured)


@pytest.mark.parametrize("way", CONVERSED)
def test_two_processes_learn_dialogues_and_rank_answers_as_one(
    shared: Path, conversed: LearntInOne, way: str
) -> None:
    learnt, folder = conversed
    compare(shared, folder, way, learnt)
    measured = [line for line in losses(folder) if "validation_mrr" in line]
    assert [line["step"] for line in measured] == [2, 4]
    assert all(20 < line["validation_mrr"] < 100 for line in measured)


def compare(shared: Path, folder: Path, way: str, alone: dict[str, Any]) -> None:
    """What two processes learnt and logged in `shared`, beside what one did."""
    found = torch.load(shared / f"{way}.pt", weights_only=True)
    assert found.keys() == alone.keys()
    for part in alone:
        assert found[part].keys() == alone[part].keys()
        for name, value in alone[part].items():
            if isinstance(value, int):
                assert found[part][name] == value, name
            else:
                torch.testing.assert_close(
                    found[part][name], value, rtol=1e-7, atol=1e-10, msg=f"{part} {name}"
                )
    measured, expected = losses(shared / way), losses(folder)
    assert [line["step"] for line in expected if "loss" in line] == [1, 2, 3, 4, 5]
    for together, single in zip(measured, expected, strict=True):
        assert together == pytest.approx(single, rel=1e-6)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_optimiser_s_state_comes_back_whole_and_nothing_is_added(
    shared: Path, kind: str
) -> None:
    """Two of four parameters have one: the others' first update must still be their first."""
    found = torch.load(shared / "states.pt", weights_only=True)[kind]
    assert found["before"].keys() == found["after"].keys() == {"0.weight", "0.bias"}
    for name, state in found["before"].items():
        assert state["exp_avg"].shape == {"0.weight": (2, 3), "0.bias": (2,)}[name]
        assert all(torch.equal(found["after"][name][key], state[key]) for key in state)


def test_shards_are_judged_on_the_way_as_a_whole_is(
    shared: Path, tmp_path: Path, shards: Path, words: Path
) -> None:
    """Where encoder and decoder share self-attention, evaluation calls one part in many ways."""
    alone = JUDGED | {"parallel": "ddp"}
    pretrain(tmp_path, shards, words, **alone)
    measured, expected = losses(shared / "judged"), losses(tmp_path)
    assert [line["step"] for line in measured if "validation_tr1" in line] == [2, 4]
    for mine, theirs in zip(measured, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-3)
    assert (shared / "judged/samples/step-00000002.png").exists()
