"""One file for the weights of all graphs: what several of them share is stored once."""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

FILE = "weights.bin"
ALIGNMENT = 4096
"""Each tensor begins at a multiple of it, so that a runtime can map it into memory."""
INLINE = 1024
"""Tensors of fewer bytes stay in the graph's own file."""


class WeightsFile:
    """Tensors of some graphs, written one after another; those of equal content once."""

    def __init__(self, folder: Path) -> None:
        self._file: BinaryIO = (folder / FILE).open("wb")
        self._places: dict[bytes, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, name: str, tensor: Tensor) -> TensorProto:
        """An initializer of this name."""
        array = tensor.detach().cpu().contiguous().numpy()
        if array.nbytes < INLINE:
            return numpy_helper.from_array(array, name)
        offset, length = self._store(array.tobytes())
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        made = TensorProto(name=name, data_type=kind, data_location=TensorProto.EXTERNAL)
        made.dims.extend(array.shape)
        for key, value in (("location", FILE), ("offset", offset), ("length", length)):
            made.external_data.add(key=key, value=str(value))
        return made

    def _store(self, content: bytes) -> tuple[int, int]:
        digest = hashlib.sha256(content).digest()
        place = self._places.get(digest)
        if place is None:
            start = -(-self._file.tell() // ALIGNMENT) * ALIGNMENT
            self._file.seek(start)
            self._file.write(content)
            place = self._places[digest] = (start, len(content))
        return place
