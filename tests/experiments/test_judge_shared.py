"""The judge reads real files; larger ones, of questions and videos, take too long for a test."""

import os
from pathlib import Path

import pytest

from blip.generation.config import DecodingConfig
from experiments.judge import JudgeOptions, judge
from tests.support.saved_models import save_tiny, tiny_checkpoint

SHARED = Path(os.environ.get("BLIP_SHARED", "../shared"))


@pytest.mark.parametrize(
    ("name", "kind", "tasks", "figures"),
    [
        ("webalt/train.parquet", "med", ("retrieval",), ("retrieval",)),
        ("stamps/train.parquet", "med", ("retrieval",), ("retrieval",)),
        ("nlvr2/pairs.parquet", "nlvr", (), ("nlvr",)),
    ],
)
def test_real_files_are_judged(
    tmp_path: Path, name: str, kind: str, tasks: tuple[str, ...], figures: tuple[str, ...]
) -> None:
    data = SHARED / name
    if not data.is_file():
        pytest.skip(f"{data} is absent")
    model = tmp_path / "model"
    if kind == "med":
        tiny_checkpoint(model, ["a dog runs on the grass", "two people stand near a red car"])
    else:
        save_tiny(model, "nlvr")
    options = JudgeOptions(
        checkpoint=str(model),
        data=str(data),
        tasks=tasks,
        candidates=10,
        decoding=DecodingConfig(kind="greedy", max_length=6),
        resamples=20,
    )
    found = judge(options)
    for figure in figures:
        assert found[figure]
    # Some of the alt texts are of characters that cleaning drops.
    assert found["left_out"].keys() <= ({"empty_caption"} if "webalt" in name else set())
