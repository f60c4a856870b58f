"""The most bytes that tensors hold at a time while something runs, as torch's allocator counts."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def most_bytes(work: Callable[[], object]) -> int:
    """Of tensors on the CPU that `work` makes, in this thread; those that were there do not count.

    Unlike the memory of the process, the same number each time.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    results = profiled.profiler
    assert results is not None
    assert results.kineto_results is not None
    held = most = 0
    for event in results.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most
