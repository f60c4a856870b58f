"""The stages that are timed are whole evaluations, of both models."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.evaluation import largest_difference
from benchmarks.evaluation_stages import MODELS, main
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import write_splits
from blip.recipes.bootstrap import scenes_test
from tests.support.saved_models import save_tiny


def test_both_models_are_evaluated_and_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = scenes_test().data
    assert isinstance(data, ScenesConfig)
    write_splits(replace(data, human=1, web=1, val=1, test=3), tmp_path / "run" / "data")
    for name in MODELS:
        save_tiny(tmp_path / "run" / name)
    assert main([str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    # A stage notes its seconds to two places.
    assert 0 < found["stage_seconds"] <= found["seconds"] + 0.005
    assert found["cpu_seconds"] > 0
    assert [set(one) for one in found["recalls"]] == [
        {"tr1", "tr5", "tr10", "ir1", "ir5", "ir10"}
    ] * 2
    assert largest_difference([{"tr1": 4.0, "ir1": 2.0}], [{"tr1": 4.5, "ir1": 1.0}]) == 1.0
