"""Variables that only look like torchrun's end in one line."""

import pytest

from blip import dist
from blip.errors import BlipError, UsageError


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"RANK": "x", "WORLD_SIZE": "1"},
            "RANK is 'x' in the environment; allowed: a number, as torchrun sets it",
        ),
        ({"RANK": "0", "WORLD_SIZE": ""}, "WORLD_SIZE is '' in the environment"),
        (
            {"RANK": "0", "WORLD_SIZE": "1"},
            "cannot join the processes that torchrun started: .*MASTER",
        ),
        ({"RANK": "3", "WORLD_SIZE": "0"}, "cannot join the processes that torchrun started"),
    ],
)  # fmt: skip
def test_an_environment_that_is_not_torchrun_s_is_one_line(environment, message, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BlipError, match=message), dist.processes("cpu"):
        pass


def test_processes_cannot_share_a_gpu_by_its_number(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = pytest.raises(UsageError, match="device is 'cuda:1', but each of the processes")
    with refused, dist.processes("cuda:1"):
        pass
