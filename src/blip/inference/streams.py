"""CUDA streams of their own for models that work side by side; on a CPU all is done at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

BEFORE_OTHERS = -1
"""Priority of a stream whose small kernels need not wait for the large ones of others."""


@final
class OwnStream:
    """Where one model works: a GPU begins what is on a stream without waiting for other streams."""

    def __init__(
        self, device: torch.device, dtype: torch.dtype = torch.float32, *, priority: int = 0
    ) -> None:
        """`dtype` is the number format in which the model on `device` takes pixels."""
        self.device = device
        self.dtype = dtype
        on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device, priority=priority) if on_gpu else None
        self._uploads = torch.cuda.Stream(device) if on_gpu else None

    @contextmanager
    def use(self) -> Iterator[None]:
        """Work goes to this stream within the block, after what the current stream has begun."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            yield

    def upload(
        self, images: Sequence[Float[Tensor, "3 height width"]]
    ) -> Sequence[Float[Tensor, "3 height width"]]:
        """Pictures of one size on the GPU, where the model reads them; on a CPU as they are.

        A thread may call it while others use the stream; it waits for its own copy alone.
        """
        if self._stream is None or self._uploads is None or not images:
            return images
        held = _pinned(len(images), *images[0].shape)
        torch.stack(list(images), out=held)
        with torch.cuda.stream(self._uploads):
            pixels = held.to(self.device, non_blocking=True).to(self.dtype)
        # The memory is another stream's: it must not be given away before the model has read it.
        pixels.record_stream(self._stream)
        self._uploads.synchronize()
        return pixels.unbind()


def _pinned(*shape: int) -> Tensor:
    """Memory from which a GPU copies while the host goes on."""
    return torch.empty(shape, pin_memory=True)
