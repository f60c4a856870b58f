"""A device that is not there, or is none, is one line before anything is loaded."""

from typing import Any

import pytest
import torch

from blip.errors import UsageError
from blip.nn.device import choose_device, fetch


def pretend(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize(("name", "gpus"), [("auto", 0), ("cpu", 0), ("cuda", 1), ("cuda:1", 2)])
def test_what_is_there_is_taken(name, gpus, monkeypatch):
    pretend(monkeypatch, gpus)
    assert str(choose_device(name)) == ("cpu" if name == "auto" else name)


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("cuda:9", 0, "device is 'cuda:9', but torch finds no GPU here"),
        ("cuda:9", 2, "device is 'cuda:9'; allowed: cuda:0 to cuda:1, cpu, auto"),
        ("foo", 0, "`device` is 'foo'; allowed: auto, cpu, cuda or cuda:N"),
        ("mps", 0, "`device` is 'mps'; allowed: auto, cpu, cuda or cuda:N"),
        ("", 0, "`device` is ''; allowed: auto, cpu, cuda or cuda:N"),
        ("cuda:\u0661", 1, "; allowed: auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_is_not_there_is_refused(name, gpus, message, monkeypatch):
    pretend(monkeypatch, gpus)
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert message in str(caught.value)


def test_a_tensor_of_a_cpu_is_fetched_at_once():
    tensor = torch.arange(3)
    assert torch.equal(fetch(tensor)(), tensor)


def test_a_copy_from_a_gpu_is_waited_for_alone(monkeypatch):
    events = []

    class Event:
        def record(self, stream: str) -> None:
            events.append(f"recorded on {stream}")

        def synchronize(self) -> None:
            events.append("waited for")

    class OnGpu(torch.Tensor):
        device = torch.device("cuda:1")

        def to(self, *arguments: Any, **options: Any) -> torch.Tensor:
            events.append((arguments, options))
            return torch.arange(3)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"that of {device}")
    wait = fetch(torch.zeros(3).as_subclass(OnGpu))
    assert events == [(("cpu",), {"non_blocking": True}), "recorded on that of cuda:1"]
    assert wait().tolist() == [0, 1, 2]
    assert events[2:] == ["waited for"]
