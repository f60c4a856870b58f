"""status.json: how far a job is, for programs that watch it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, final

from blip.capfilt.ledger.records import SOURCES, Counts
from blip.files import write_json

SECONDS_BETWEEN = 2.0
State = Literal["running", "done", "stopped", "failed"]


@final
class Status:
    """Writes the file every few seconds, atomically."""

    def __init__(self, path: Path, *, shards: int, done: Mapping[str, Counts]) -> None:
        """`shards` of the whole job; `done` are the counts of those that are done already."""
        self.path, self.shards = path, shards
        self.counts, self.shards_done = Counts(), len(done)
        for of_shard in done.values():
            self.counts.add(of_shard)
        self.before = self.counts.images
        self.images: int | None = None
        self.workers = 0
        self.started = time.monotonic()
        self.written = float("-inf")

    def begin(self, images: int, workers: int) -> None:
        """Set about how many `images` the whole job has, and how many `workers` process them."""
        self.images, self.workers = images, workers
        self.before = self.counts.images
        self.started, self.written = time.monotonic(), float("-inf")
        self.update(self.counts, self.shards_done)

    def update(self, counts: Counts, shards_done: int, state: State = "running") -> None:
        """Report how far the job is; `counts` include the batches of unfinished shards."""
        self.counts, self.shards_done = counts, shards_done
        now = time.monotonic()
        if state != "running" or now - self.written >= SECONDS_BETWEEN:
            self.written = now
            self._write(now, state)

    def end(self, state: State) -> None:
        """Report how the job ended."""
        self.update(self.counts, self.shards_done, state)

    def _write(self, now: float, state: State) -> None:
        counts = self.counts
        (web_kept, web_dropped), (synthetic_kept, synthetic_dropped) = map(counts.texts, SOURCES)
        rate = (counts.images - self.before) / max(now - self.started, 1e-9)
        whole = self.images if state == "running" else counts.images
        left = max((whole or 0) - counts.images, 0)
        write_json(
            self.path,
            {
                "state": state,
                "shards": self.shards,
                "shards_done": self.shards_done,
                "images": whole,
                "images_done": counts.images,
                "images_bad": counts.images_bad,
                "web_kept": web_kept,
                "web_dropped": web_dropped,
                "synthetic_kept": synthetic_kept,
                "synthetic_dropped": synthetic_dropped,
                "images_per_second": round(rate, 3),
                "seconds_left": round(left / rate, 1) if rate > 0 else None,
                "workers": self.workers,
                "updated": round(time.time(), 1),
            },
        )


@contextmanager
def report_end(status: Status) -> Iterator[None]:
    """Report that the job runs, and at the end of the block how it ended."""
    state: State = "stopped"
    try:
        status.update(status.counts, status.shards_done)
        yield
        state = "done"
    except Exception:
        state = "failed"
        raise
    finally:
        # On a full disk the error that is being raised already says so.
        with suppress(OSError):
            status.end(state)
