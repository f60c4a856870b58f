"""Work of fixed shapes and addresses as a CUDA graph: one launch instead of one for each kernel."""

from collections.abc import Callable

import torch


def captures(device: torch.device) -> bool:
    """Whether work on a device can be captured."""
    return torch.cuda.is_available() and device.type == "cuda"


def capture(
    work: Callable[[], object], prepare: Callable[[], object] | None = None
) -> Callable[[], None]:
    """What replays `work`, which reads and writes the same memory each time.

    It runs three times meanwhile, each after `prepare`. Raises RuntimeError where `work` waits for
    the device, or does something else that a graph cannot hold.
    """
    ready = prepare or (lambda: None)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    # It must have run before, on a stream of its own.
    with torch.cuda.stream(stream):
        for _ in range(2):
            ready()
            work()
    torch.cuda.current_stream().wait_stream(stream)
    ready()
    graph = torch.cuda.CUDAGraph()
    # Threads that decode pictures meanwhile may use the GPU.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay
