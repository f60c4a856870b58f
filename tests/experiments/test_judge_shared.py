"""The judge reads real files; larger ones take too long for a test."""

import json
import os
from pathlib import Path

import pytest

from blip.generation.config import DecodingConfig
from blip.model.config import Architecture
from experiments.judge import JudgeOptions, judge
from tests.support.saved_models import save_tiny, tiny_checkpoint
from tests.support.visdial import stand_in_pictures

SHARED = Path(os.environ.get("BLIP_SHARED", "../shared"))


@pytest.mark.parametrize(
    ("name", "kind", "tasks", "figures"),
    [
        ("webalt/train.parquet", "med", ("retrieval",), ("retrieval",)),
        ("stamps/train.parquet", "med", ("retrieval",), ("retrieval",)),
        ("nlvr2/pairs.parquet", "nlvr", (), ("nlvr",)),
        ("msvd/videodatainfo.json", "med", (), ("video_retrieval",)),
        ("msvd/qa.parquet", "vqa", (), ("video_qa",)),
    ],
)
def test_real_files_are_judged(
    tmp_path: Path, name: str, kind: Architecture, tasks: tuple[str, ...], figures: tuple[str, ...]
) -> None:
    data = SHARED / name
    if not data.is_file():
        pytest.skip(f"{data} is absent")
    model = tmp_path / "model"
    if name.startswith("msvd"):
        pytest.importorskip("av")
    if kind == "med":
        tiny_checkpoint(model, ["a dog runs on the grass", "two people stand near a red car"])
    else:
        save_tiny(model, kind)
    options = JudgeOptions(
        checkpoint=str(model),
        data=str(data),
        tasks=tasks,
        candidates=10,
        frames=2 if name.startswith("msvd") else None,
        decoding=DecodingConfig(kind="greedy", max_length=6),
        resamples=20,
    )
    found = judge(options, DecodingConfig(kind="greedy", min_length=1, max_length=3))
    for figure in figures:
        assert found[figure]
    # Some of the alt texts are of characters that cleaning drops.
    assert found["left_out"].keys() <= ({"empty_caption"} if "webalt" in name else set())


def test_real_dialogues_are_judged(tmp_path: Path) -> None:
    """Three of them about stand-ins for their photos, which were not to be had."""
    official = SHARED / "visdial/visdial_1.0_val.json"
    if not official.is_file():
        pytest.skip(f"{official} is absent")
    content = json.loads(official.read_text(encoding="utf-8"))
    content["data"]["dialogs"] = some = content["data"]["dialogs"][:3]
    data = tmp_path / official.name
    data.write_text(json.dumps(content), encoding="utf-8")
    stand_in_pictures(tmp_path / "pictures", [one["image_id"] for one in some])
    model = save_tiny(tmp_path / "model", "visdial", positions=300)
    found = judge(JudgeOptions(checkpoint=str(model), data=str(data), batch_size=3, resamples=20))
    assert (found["images"], found["rounds"], len(found["ranks"])) == (3, 30, 30)
    value, low, high = found["visdial"]["mean_rank"]
    assert 1 <= low <= value <= high <= 100
