"""Ray as an engine: items on actors, each with its share of a GPU, on one machine or many.

Ray Data has job checkpoints of its own (`ray.data.checkpoint.CheckpointConfig`, beta). They are not
used: they ask for an id that is unique over all rows, which web data does not have; they hold the
ids of all finished rows in memory at a start; and which rows share an output file depends on
blocks and retries. A shard here is one item that leaves two files and a marker, so that the bytes
of the output do not depend on who wrote it, and a job can move between the engines half way.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, final

from blip.capfilt.engine.protocol import Failed, Item, MakeWorker, News, Outcome, Result
from blip.capfilt.engine.work import refusal, work
from blip.errors import BlipError, UsageError, one_line
from blip.installed import missing
from blip.log import say
from blip.ray_cluster import describe, join_or_start

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as _missing:
    raise missing("Ray", "ray", _missing) from _missing

STORE_BYTES = 128 << 20
"""Size of the object store of a cluster that is started here; it holds counts and names only."""
SECONDS_BEFORE_NOTICE = 20.0
"""How long all actors may wait for room before a line reports it."""


@final
class RayEngine:
    """Actors on a cluster; one that dies costs its item and is replaced.

    Code and checkpoints must be on every machine, input and output in folders that all of them see.
    """

    def __init__(self, workers: int | None, address: str | None, gpus: float | None) -> None:
        """Join the cluster at `address` (auto finds one on this machine), or start one here.

        `workers` actors with `gpus` each; by default as many as have room, with a GPU each where
        there are GPUs. Raises BlipError if there is no such cluster, and UsageError if the
        one started here has no room for a worker.
        """
        self._ours = not ray.is_initialized()
        if self._ours:
            join_or_start(address, workers, STORE_BYTES)
        has = ray.cluster_resources()
        self.gpus = float(has.get("GPU", 0.0) >= 1.0) if gpus is None else gpus
        room = int(has.get("CPU", 0.0))
        if self.gpus > 0.0:
            room = min(room, int(has.get("GPU", 0.0) / self.gpus + 1e-6))
        if room == 0 and address is None:
            self.close()
            raise UsageError(f"a worker needs {self._needs()}; this machine has {describe(has)}")
        self.workers = workers or max(room, 1)

    def __enter__(self) -> Self:
        """The engine itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster."""
        self.close()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._ours:
            ray.shutdown()

    def run(
        self, items: Sequence[Item], make_worker: MakeWorker[Item, Result]
    ) -> Iterator[Outcome[Item, Result]]:
        """Do all items; the actors are gone when the iterator ends or is closed."""
        waiting = deque(items)
        crew: dict[Any, _Member] = {}
        try:
            for place in range(min(self.workers, len(waiting))):
                self._hire(crew, place, make_worker)
            while waiting or any(member.item is not None for member in crew.values()):
                for awaited in self._wait(crew):
                    # It stays in the crew meanwhile: where this raises or is closed, it is stopped.
                    member = crew[awaited]
                    outcome = member.receive(awaited)
                    if outcome is not None:
                        yield outcome
                    if isinstance(outcome, News):
                        continue
                    del crew[awaited]
                    if not waiting:
                        member.stop()
                    elif isinstance(outcome, Failed) and outcome.kind == "died":
                        member.stop()
                        self._hire(crew, member.place, make_worker)
                    else:
                        crew[member.give(waiting.popleft())] = member
        finally:
            for member in crew.values():
                member.stop()

    def _wait(self, crew: dict[Any, "_Member"]) -> list[Any]:
        """References whose outcomes are ready, as soon as there is one."""
        ready, _ = ray.wait(list(crew), timeout=SECONDS_BEFORE_NOTICE)
        if not ready and all(member.item is None for member in crew.values()):
            say(f"ray: waiting for free resources; a worker needs {self._needs()}")
        return ready

    def _hire(self, crew: dict[Any, "_Member"], place: int, make_worker: Any) -> None:
        actor: Any = (
            ray.remote(_Actor).options(num_cpus=1, num_gpus=self.gpus, max_restarts=0).remote()
        )
        # Items go only to actors whose models are loaded; one that waits for room would delay them.
        crew[actor.prepare.remote(make_worker, place)] = _Member(place, actor)

    def _needs(self) -> str:
        return f"1 CPU and {self.gpus:g} GPUs" if self.gpus else "1 CPU"


@dataclass(slots=True)
class _Member:
    """An actor as its driver sees it."""

    place: int
    actor: Any
    item: Any = None
    """None while its models are loaded."""

    def give(self, item: Any) -> Any:
        """Begin an item; what is returned yields references to its outcomes."""
        self.item = item
        return self.actor.serve.options(num_returns="streaming").remote(item)

    def receive(self, awaited: Any) -> Outcome[Any, Any] | None:
        """The next outcome of an actor; None when its models are loaded.

        Raises BlipError if they cannot be loaded, or if the actor died before its first item.
        """
        try:
            message: Any = ray.get(awaited if self.item is None else next(awaited))
        except RayTaskError as error:
            return self._lost("raised", one_line(error))
        except RayError as error:
            return self._lost("died", f"its actor ended: {_reason(error)}")
        if isinstance(message, BlipError):
            raise message
        return message

    def stop(self) -> None:
        # It may have ended already.
        with suppress(RayError, ValueError):
            ray.kill(self.actor)

    def _lost(self, kind: Any, why: str) -> Failed[Any]:
        if self.item is None:
            raise BlipError(f"no worker can be made: {why}")
        return Failed(self.item, kind, why)


class _Actor:
    """A worker, made where it works."""

    def prepare(self, make_worker: MakeWorker[Any, Any], place: int) -> BlipError | None:
        """Make the worker; returns why not, where it cannot be made."""
        try:
            self.worker = make_worker(place)
        except Exception as error:
            return refusal(error)

    def serve(self, item: Any) -> Iterator[Outcome[Any, Any]]:
        """Do an item."""
        yield from work(self.worker, item)


def _reason(error: RayError) -> str:
    """The part of Ray's long message that gives the cause of a death."""
    text = " ".join(str(error).split())
    for mark in ("Worker exit detail: ", "The actor is dead because "):
        text = text.partition(mark)[2] or text
    return text.partition(". ")[0][:200]
