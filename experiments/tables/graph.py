"""Stages that tables share: each is named by all that it depends on, and is run once."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from blip.config.strict import to_json
from blip.errors import BlipError
from blip.files import fingerprint_json, json_text, write_json
from blip.jobs import run_in_child
from blip.log import say
from blip.outputs import Kind
from blip.processes import start_process, stop_on_sigterm
from blip.reports.origin import origin
from blip.stage import Stage

ORIGIN = "origin.json"
"""In the folder of a stage: the commit and the machine that made it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A stage, and those that it reads from."""

    stage: Stage
    after: tuple["Node", ...]

    @property
    def folder(self) -> Path:
        """Where the result lies."""
        return self.stage.folder

    @property
    def is_done(self) -> bool:
        """Whether the result exists, and where it comes from is written down."""
        return (self.folder / ORIGIN).is_file() and self.stage.is_done()


def make_node(
    out: Path, kind: Kind, config: Any, work: Callable[[Path], Callable[[], object]], *after: Node
) -> Node:
    """A node whose folder below `out` is named by its configuration.

    That configuration names the folders of earlier nodes, so that it says all that decides the
    result. `work` gives what is to be done in a folder.
    """
    described = json_text(to_json(config, for_fingerprint=True)).replace(f"{out}/", "")
    inputs = [kind.name, described]
    name = f"{kind.name.replace(' ', '-')}-{fingerprint_json(inputs)[:12]}"
    stage = Stage(name, out / name, inputs, work(out / name), kind)
    return Node(stage, after)


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """These and all that they need, each once, after what it needs."""
    found: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if node.stage.name not in found:
            for earlier in node.after:
                visit(earlier)
            found[node.stage.name] = node

    for node in nodes:
        visit(node)
    return list(found.values())


def run_nodes(nodes: Iterable[Node], parallel: int) -> None:
    """Run what is not done yet, up to `parallel` stages at a time, each with one thread.

    Raises BlipError if a stage fails, after those under way have finished, and StoppedError
    after SIGTERM; the same call does the rest.
    """
    ordered = in_order(nodes)
    done = {node.stage.name for node in ordered if node.is_done}
    waiting = [node for node in ordered if node.stage.name not in done]
    say(f"tables: {len(done)} of {len(ordered)} stages are done")
    run = _in_this_process(waiting) if parallel == 1 else _in_processes(waiting, done, parallel)
    for node in run:
        write_json(node.folder / ORIGIN, origin(Path(__file__).parent))
        done.add(node.stage.name)
        say(f"tables: {len(done)} of {len(ordered)} stages are done")


def _in_this_process(waiting: list[Node]) -> Iterator[Node]:
    import torch

    # As in a process of its own: another number of threads gives other rounding.
    torch.set_num_threads(1)
    for node in waiting:
        node.stage.run()
        yield node


def _in_processes(waiting: list[Node], done: set[str], parallel: int) -> Iterator[Node]:
    """Yields each node when its process has ended; whoever takes it adds its name to `done`."""
    context = multiprocessing.get_context("spawn")
    running: dict[int, tuple[BaseProcess, Node]] = {}
    failed: list[str] = []
    with stop_on_sigterm("stopped; run the same command again to resume"):
        try:
            while running or (waiting and not failed):
                for node in [] if failed else _ready(waiting, done)[: parallel - len(running)]:
                    waiting.remove(node)
                    process = context.Process(target=run_in_child, args=(node.stage, 1))
                    start_process(process)
                    running[process.sentinel] = process, node
                for sentinel in wait(list(running)):
                    assert isinstance(sentinel, int)
                    process, node = running.pop(sentinel)
                    process.join()
                    if process.exitcode == 0:
                        yield node
                    else:
                        failed.append(node.stage.name)
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join()
    if failed:
        raise BlipError(f"{' and '.join(failed)} failed; run the same command again to resume")


def _ready(waiting: list[Node], done: set[str]) -> list[Node]:
    return [node for node in waiting if all(one.stage.name in done for one in node.after)]
