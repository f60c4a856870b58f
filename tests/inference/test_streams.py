"""Work of a model goes to a stream of its own on a GPU, and is left alone on a CPU."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch

from blip.inference import streams
from blip.inference.streams import BEFORE_OTHERS, OwnStream

PICTURES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()


def test_a_cpu_works_at_once_and_copies_nothing() -> None:
    stream = OwnStream(torch.device("cpu"), torch.bfloat16, priority=BEFORE_OTHERS)
    with stream.use():
        assert stream.upload(PICTURES) is PICTURES


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of CUDA, where there is none; the device is torch's without numbers."""
    happened: list[str] = []

    class Stream:
        def __init__(self, device: object, priority: int = 0) -> None:
            self.name = f"stream {len(made)}"
            made.append(priority)

        def wait_stream(self, other: str) -> None:
            happened.append(f"{self.name} waits for {other}")

        def synchronize(self) -> None:
            happened.append(f"host waits for {self.name}")

    made: list[int] = []

    @contextmanager
    def stream(one: Stream) -> Any:
        happened.append(f"to {one.name}")
        yield
        happened.append(f"end of {one.name}")

    def pinned(*shape: int) -> torch.Tensor:
        happened.append("pinned memory")
        return torch.empty(shape)

    def record_stream(pixels: torch.Tensor, one: Stream) -> None:
        happened.append(f"{one.name} reads {pixels.dtype}")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the current one")
    monkeypatch.setattr(torch.Tensor, "record_stream", record_stream)
    monkeypatch.setattr(streams, "_pinned", pinned)
    return happened


def test_a_gpu_has_a_stream_for_the_work_and_one_for_copies(events: list[str]) -> None:
    own = OwnStream(torch.device("cuda:0"), torch.bfloat16)
    with own.use():
        events.append("work")
    assert events == [
        "stream 0 waits for the current one",
        "to stream 0",
        "work",
        "end of stream 0",
    ]
    events.clear()
    # Here copies end nowhere.
    own.device = torch.device("meta")
    sent = own.upload(PICTURES)
    assert [one.shape for one in sent] == [(3, 8, 8)] * 2
    assert events == [
        "pinned memory",
        "to stream 1",
        "end of stream 1",
        "stream 0 reads torch.bfloat16",
        "host waits for stream 1",
    ]
    assert own.upload([]) == []
