"""Write graphs, their weights and what describes them into a folder."""

from pathlib import Path

import onnx

from blip.export.builder import OPSET, Builder, to_model
from blip.export.manifest import ExportPrecision, Manifest, write_manifest
from blip.export.names import GraphName
from blip.export.weights import WeightsFile
from blip.inference.checkpoint import Checkpoint
from blip.installed import version


def store(
    graphs: dict[GraphName, Builder],
    checkpoint: Checkpoint,
    precision: ExportPrecision,
    folder: Path,
) -> Manifest:
    """Write the graphs of a checkpoint into an existing folder."""
    manifest = Manifest(
        precision=precision,
        graphs=tuple(graphs),
        model=checkpoint.contents.config,
        checkpoint=checkpoint.fingerprint(),
        written_by=version(),
        onnx=onnx.__version__,
        opset=OPSET,
    )
    about = {"blip_format": str(manifest.format), "precision": precision}
    with WeightsFile(folder) as weights:
        for name, builder in graphs.items():
            graph = builder.graph(name)
            graph.initializer.extend(weights.add(*one) for one in builder.weights.items())
            onnx.save(to_model(graph, about), folder / f"{name}.onnx")
    checkpoint.tokenizer.save(folder)
    write_manifest(manifest, folder)
    return manifest
