"""A CUDA graph is captured on the stream of its model; CUDA's calls are noted, not made."""

import gc
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from blip.inference.cuda_graph import capture


class Stream:
    """One of CUDA's, by its name."""

    def __init__(self, name: str = "new") -> None:
        self.name = name

    def wait_stream(self, other: "Stream") -> None:
        pass


class Graph:
    """Replays nothing."""

    def replay(self) -> None:
        pass


@pytest.mark.parametrize(("current", "captured"), [("of the model", "of the model"), ("0", "new")])
def test_a_graph_is_captured_where_its_model_works(
    current: str, captured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Stream("0")
    here = usual if current == "0" else Stream(current)
    at = [here.name]
    ran: list[str] = []

    @contextmanager
    def on(stream: Stream) -> Any:
        at.append(stream.name)
        yield
        at.pop()

    @contextmanager
    def graph(made: Graph, *, stream: Stream, capture_error_mode: str) -> Any:
        assert capture_error_mode == "thread_local"
        assert not gc.isenabled(), "another graph may be freed meanwhile"
        at.append(f"captured: {stream.name}")
        yield
        at.pop()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: here)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda: usual)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    capture(lambda: ran.append(at[-1]))
    assert ran == [captured, captured, f"captured: {captured}"]
    assert gc.isenabled()

    def fails() -> None:
        ran.append(at[-1])
        if at[-1].startswith("captured"):
            raise RuntimeError("cannot be captured")

    now: list[Stream] = []
    monkeypatch.setattr(torch.cuda, "set_stream", now.append)
    with pytest.raises(RuntimeError, match="cannot be captured"):
        capture(fails)
    assert now == [here], "the stream of the capture is still the current one"
    assert gc.isenabled()
