"""Whole numbers of 8 bits: smaller files, scores nearly those of float32."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from blip.errors import UsageError
from blip.export.builder import quantise_weight
from blip.export.matcher import OnnxMatcher
from blip.export.sessions import Graphs
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


def test_products_are_exact_on_every_processor(tmp_path: Path) -> None:
    """Without VNNI, onnxruntime's fastest products of such numbers overflow."""
    torch.manual_seed(0)
    weight = torch.where(torch.rand(768, 64) < 0.9, 127, -127).to(torch.int8)
    states = torch.randint(200, 256, (4, 768), dtype=torch.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["states", "weight", "zero"], ["sums"])],
        "products",
        [helper.make_tensor_value_info("states", TensorProto.UINT8, [4, 768])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [4, 64])],
        [
            numpy_helper.from_array(weight.numpy(), "weight"),
            numpy_helper.from_array(np.array(128, np.uint8), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, tmp_path / "products.onnx")
    (sums,) = Graphs(tmp_path).run("products", {"states": states}).values()
    assert torch.equal(sums, (states.int() - 128) @ weight.int())


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
