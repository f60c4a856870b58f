"""The graphs of an exported folder, run by onnxruntime on tensors of torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from blip.errors import BlipError, first_line
from blip.installed import need
from blip.nn.kernels.int8_weight import has_vnni

if TYPE_CHECKING:
    import onnxruntime

EXTRA = ("onnxruntime", "onnxruntime", "onnx")
"""The module, what messages call it, and the extra that installs it."""


class Runs(Protocol):
    """What runs the graphs of a folder."""

    folder: Path

    def run(self, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of a graph."""
        ...


class Graphs:
    """Graphs on the CPU, each opened when it is first run.

    They use as many threads as torch (`torch.set_num_threads`, OMP_NUM_THREADS).
    """

    def __init__(self, folder: Path) -> None:
        """Raises UsageError if onnxruntime is not installed."""
        need(*EXTRA)
        self.folder = folder
        self._open: dict[str, onnxruntime.InferenceSession] = {}

    def run(self, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of a graph; what goes in and comes out is not copied where it is contiguous.

        Raises BlipError if the graph cannot be opened.
        """
        session = self._open.get(name)
        if session is None:
            session = self._open[name] = self._session(name)
        names = [one.name for one in session.get_outputs()]
        given = {key: tensor.contiguous().numpy() for key, tensor in inputs.items()}
        arrays = session.run(names, given)
        return {key: torch.from_numpy(array) for key, array in zip(names, arrays, strict=True)}

    def _session(self, name: str) -> "onnxruntime.InferenceSession":
        ort = need(*EXTRA)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        if not has_vnni():
            # Its fast products of unsigned and signed numbers overflow 16 bits there.
            options.add_session_config_entry("session.x64quantprecision", "1")
        # Its warnings are about its own optimisation.
        options.log_severity_level = 3
        path = self.folder / f"{name}.onnx"
        try:
            return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        # Its errors derive from Exception alone.
        except Exception as error:
            raise BlipError(f"onnxruntime cannot open {path}: {first_line(error)}") from error
