"""Work of fixed shapes and addresses as a CUDA graph: one launch instead of one for each kernel."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def captures(device: torch.device) -> bool:
    """Whether work on a device can be captured."""
    return torch.cuda.is_available() and device.type == "cuda"


def capture(
    work: Callable[[], object], prepare: Callable[[], object] | None = None
) -> Callable[[], None]:
    """What replays `work`, which reads and writes the same memory each time.

    It runs three times meanwhile, each after `prepare`. Raises RuntimeError if `work` waits for
    the device, or does something else that a graph cannot hold.
    """
    ready = prepare or (lambda: None)
    current = torch.cuda.current_stream()
    # A graph keeps the priority and the scratch memory of the stream where it was captured: that of
    # its model, so that models which work side by side share neither. CUDA's default stream cannot
    # be captured.
    stream = torch.cuda.Stream() if current == torch.cuda.default_stream() else current
    stream.wait_stream(current)
    # It must have run before.
    with torch.cuda.stream(stream):
        for _ in range(2):
            ready()
            work()
    current.wait_stream(stream)
    ready()
    graph = torch.cuda.CUDAGraph()
    try:
        # Threads that decode pictures meanwhile may use the GPU.
        with (
            _no_garbage_collection(),
            torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
        ):
            work()
    except BaseException:
        # A capture that fails at its end leaves its stream as the current one.
        torch.cuda.set_stream(current)
        raise
    return graph.replay


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect garbage now and not within the block.

    A CUDA graph that is freed during a capture makes it fail.
    """
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
