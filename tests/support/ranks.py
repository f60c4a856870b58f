"""Processes that train together, with the environment that torchrun gives them, but forked."""

import os
import socket
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

from tests.support.forked import start_forked


def start_ranks(
    ranks: int, work: Callable[..., object], *arguments: object
) -> Sequence[BaseProcess]:
    """As many processes, each of which does the work; the first has rank 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [start_forked(_live, rank, ranks, port, work, arguments) for rank in range(ranks)]


def _live(
    rank: int, ranks: int, port: int, work: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "BLIP_LINES": "1"}
    os.environ |= here | {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
    work(*arguments)
