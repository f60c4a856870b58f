"""What is written: one file of weights, the same bytes each time; refusals in one line."""

import json
from pathlib import Path

import onnx
import pytest

from blip import load
from blip.errors import BlipError, UsageError
from blip.export.exported import ExportedModel
from blip.export.manifest import read_manifest
from blip.export.write import export_onnx
from blip.inference.checkpoint import fingerprint, load_model
from tests.support.exported_models import Exported
from tests.support.saved_models import save_tiny


def test_the_folder_says_what_it_holds(exported: Exported) -> None:
    manifest = read_manifest(exported.folder)
    assert manifest.model == load_model(exported.checkpoint).config
    assert manifest.checkpoint == fingerprint(exported.checkpoint)
    assert (manifest.precision, manifest.onnx) == ("float32", onnx.__version__)


def test_a_weight_of_several_graphs_is_stored_once(exported: Exported) -> None:
    places: dict[tuple[str, ...], list[str]] = {}
    for path in exported.folder.glob("*.onnx"):
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            place = tuple(entry.value for entry in tensor.external_data)
            if place:
                places.setdefault(place, []).append(f"{path.stem}/{tensor.name}")
    shared = [names for names in places.values() if len(names) > 1]
    assert any("decoder/" in " ".join(names) and "matching/" in " ".join(names) for names in shared)
    for names in places.values():
        assert len({name.partition("/")[2] for name in names}) == 1


def test_the_same_checkpoint_gives_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    export_onnx(exported.checkpoint, tmp_path / "again")
    for path in exported.folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_what_cannot_be_exported(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"already exists; remove it"):
        export_onnx(exported.checkpoint, exported.folder)
    questions = save_tiny(tmp_path / "vqa", "vqa")
    with pytest.raises(UsageError, match=r"a model for questions \(VQA\); this needs a MED"):
        export_onnx(questions, tmp_path / "out")


def test_an_exported_folder_is_no_checkpoint_and_a_checkpoint_no_exported_folder(
    exported: Exported,
) -> None:
    with pytest.raises(UsageError, match=r"holds exported graphs, which `blip caption`"):
        load(exported.folder)
    with pytest.raises(UsageError, match=r"is not an exported folder \(it has no onnx\.json\)"):
        ExportedModel.load(exported.checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, which a later version of blip-capfilt wrote"),
        ({"precision": "int4"}, "precision"),
        ({"graphs": None}, "graphs"),
    ],
)
def test_other_manifests_are_refused(
    change: dict[str, object], message: str, exported: Exported, tmp_path: Path
) -> None:
    content = json.loads((exported.folder / "onnx.json").read_text(encoding="utf-8"))
    (tmp_path / "onnx.json").write_text(json.dumps(content | change), encoding="utf-8")
    with pytest.raises(BlipError, match=message):
        read_manifest(tmp_path)


def test_a_broken_graph_is_named(exported: Exported, tmp_path: Path) -> None:
    for name in ("onnx.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((exported.folder / name).read_bytes())
    (tmp_path / "image_encoder.onnx").write_bytes(b"no graph")
    model = ExportedModel.load(tmp_path)
    with pytest.raises(BlipError, match=r"^onnxruntime cannot open .*image_encoder\.onnx: "):
        model.encode_pixels(load_model(exported.checkpoint).model.vision.positions[:0])
