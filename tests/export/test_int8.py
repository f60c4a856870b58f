"""Whole numbers of 8 bits: smaller files, scores nearly those of float32."""

from pathlib import Path

import onnx
import pytest
import torch

from blip.errors import UsageError
from blip.export.builder import quantise_weight
from blip.export.matcher import OnnxMatcher
from blip.export.write import export_onnx
from blip.inference.matcher import Matcher
from tests.support.exported_models import Exported

TEXTS = [["a red circle", "two blue stars", "a"]] * 4


def operations(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_scores_are_near_and_weights_are_whole_numbers(
    kind: str, exported: Exported, tmp_path: Path
) -> None:
    folder = tmp_path / "int8"
    manifest = export_onnx(
        exported.checkpoint, folder, precision=f"int8-{kind}", calibration=exported.pictures
    )
    assert manifest.precision == f"int8-{kind}"
    assert not (folder / "calibration").exists()
    for name in ("image_encoder", "image_kv", "matching", "decoder"):
        found = operations(folder / f"{name}.onnx")
        assert "MatMulInteger" in found
        assert ("QuantizeLinear" in found) == (kind == "static")
        assert ("DynamicQuantizeLinear" in found) == (kind == "dynamic")
    near, exact = (
        one.scores(exported.pictures, TEXTS)
        for one in (OnnxMatcher.load(folder), Matcher.load(exported.checkpoint))
    )
    apart = [
        abs(a - b)
        for row, same in zip(near, exact, strict=True)
        for one, other in zip(row, same, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    assert 0 < max(apart) < 0.05


def test_weights_are_rounded_to_the_nearest_of_each_output() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 40) * torch.tensor([1e-3, 1.0, 50.0, 0.0, 2.0, 3.0])[:, None]
    scale, whole = quantise_weight(weight)
    assert whole.dtype == torch.int8
    assert whole.abs().amax(dim=0).tolist() == [127, 127, 127, 0, 127, 127]
    apart = (whole.T * scale[:, None] - weight).abs()
    assert bool((apart <= scale[:, None] / 2 + 1e-7).all())


def test_static_needs_pictures(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs pictures to calibrate by, got none"):
        export_onnx(exported.checkpoint, tmp_path / "int8", precision="int8-static")
    assert list(tmp_path.iterdir()) == []
