"""status.json: how far a job is, for machines that watch it."""

import time
from pathlib import Path
from typing import Literal, final

from blip.capfilt.record import Counts
from blip.files import write_json

SECONDS_BETWEEN = 2.0
State = Literal["running", "done", "stopped", "failed"]


@final
class Status:
    """Writes the file from time to time, whole each time."""

    def __init__(
        self, path: Path, *, shards: int, images: int, workers: int, before: Counts
    ) -> None:
        """`shards` and about `images` in the whole job; `before` is what was done already."""
        self.path, self.shards, self.images, self.workers = path, shards, images, workers
        self.before = before.images
        self.counts, self.shards_done = before, 0
        self.started = time.monotonic()
        self.written = float("-inf")

    def tell(self, counts: Counts, shards_done: int, state: State = "running") -> None:
        """Note how far the job is; `counts` has the batches of unfinished shards in it."""
        self.counts, self.shards_done = counts, shards_done
        now = time.monotonic()
        if state != "running" or now - self.written >= SECONDS_BETWEEN:
            self.written = now
            self._write(now, state)

    def end(self, state: State) -> None:
        """Note how the job ended."""
        self.tell(self.counts, self.shards_done, state)

    def _write(self, now: float, state: State) -> None:
        counts = self.counts
        rate = (counts.images - self.before) / max(now - self.started, 1e-9)
        left = max(self.images - counts.images, 0) if state == "running" else 0
        write_json(
            self.path,
            {
                "state": state,
                "shards": self.shards,
                "shards_done": self.shards_done,
                "images": self.images if state == "running" else counts.images,
                "images_done": counts.images,
                "images_bad": counts.images_bad,
                "web_kept": counts.web_kept,
                "web_dropped": counts.web_dropped,
                "synthetic_kept": counts.synthetic_kept,
                "synthetic_dropped": counts.synthetic_dropped,
                "images_per_second": round(rate, 3),
                "seconds_left": round(left / rate, 1) if rate > 0 else None,
                "workers": self.workers,
                "updated": round(time.time(), 1),
            },
        )
