"""Write a checkpoint as ONNX graphs, compared with the model that they are made of."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from blip.errors import UsageError
from blip.export.calibrate import Observer, calibrate
from blip.export.check import compare, refuse_difference
from blip.export.exported import ExportedModel
from blip.export.manifest import ExportPrecision, Manifest
from blip.export.sessions import EXTRA
from blip.files import atomic_folder
from blip.inference.checkpoint import Checkpoint, open_contents, open_tokenizer
from blip.inference.pixels import Picture
from blip.installed import need
from blip.model.blip import Blip
from blip.outputs import refuse_inputs_as_output


def export_onnx(  # noqa: PLR0913 (as `convert`, and in which numbers)
    source: str | Path,
    destination: Path,
    *,
    precision: ExportPrecision = "float32",
    calibration: Iterable[Picture] = (),
    task: Literal["caption", "itm"] | None = None,
    image_size: int | None = None,
    tokenizer: str | Path | None = None,
    heads: tuple[int, int] | None = None,
) -> Manifest:
    """Write the checkpoint `source`, as `blip.load` takes it, as a folder of ONNX graphs.

    The folder needs no checkpoint: `OnnxCaptioner` and `OnnxMatcher` read it, and so does any
    runtime for ONNX. It is written beside and renamed into place. In float32 each graph is compared
    with the model in torch before. `precision` int8-dynamic and int8-static multiply whole numbers;
    static ranges are those of the `calibration` pictures. The other arguments are those of
    `convert`.

    Raises UsageError if onnx or onnxruntime is missing, for a model that is no MED, for a
    destination that exists and for static int8 without pictures; BlipError if a graph differs
    from the model by more than 1e-4; and what `blip.load` raises.
    """
    need("onnx", "onnx", "onnx")
    need(*EXTRA)
    # They import onnx.
    from blip.export.builder import Int8
    from blip.export.graphs import build_graphs
    from blip.export.store import store

    refuse_inputs_as_output([source, *([] if tokenizer is None else [tokenizer])], destination)
    if destination.exists():
        raise UsageError(f"{destination} already exists; remove it, or name another place")
    contents, path = open_contents(source, image_size=image_size, heads=heads)
    if task is not None:
        contents = contents.for_task(task)
    opened = open_tokenizer(contents, path, tokenizer)
    checkpoint = Checkpoint(str(source), contents, opened, path)
    model = checkpoint.load_as(Blip).model
    with atomic_folder(destination) as folder:
        int8 = None
        if precision != "float32":
            int8 = Int8()
        if precision == "int8-static":
            int8 = Int8(_ranges(model, checkpoint, calibration, folder / "calibration"))
        manifest = store(build_graphs(model, int8=int8), checkpoint, precision, folder)
        if precision == "float32":
            refuse_difference(compare(ExportedModel.load(folder), model))
    return manifest


def _ranges(
    model: Blip, checkpoint: Checkpoint, pictures: Iterable[Picture], folder: Path
) -> dict[str, tuple[float, float]]:
    """What calibration finds, by graphs in float32 that are removed afterwards."""
    from blip.export.graphs import build_graphs
    from blip.export.store import store

    folder.mkdir()
    manifest = store(build_graphs(model, observes=True), checkpoint, "float32", folder)
    observed = ExportedModel(manifest, Observer(folder), checkpoint.tokenizer)
    ranges = calibrate(observed, pictures)
    shutil.rmtree(folder)
    return ranges
