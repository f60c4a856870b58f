"""A device that is not there, or is none, is one line before anything is loaded."""

import pytest
import torch

from blip.errors import UsageError
from blip.nn.device import choose_device


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
