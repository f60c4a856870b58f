"""Fetches remote shards before they are needed, beside the work of a process."""

from queue import SimpleQueue
from threading import Lock, Thread
from typing import final

from blip.data.readers.cache import ShardCache
from blip.data.readers.remote import Facts
from blip.errors import BlipError

THREADS = 4


@final
class Fetcher:
    """Threads that bring shards into a cache, in the order in which they are needed.

    They end with the process, whatever they are at: a shard that is half there is fetched again.
    """

    def __init__(self, cache: ShardCache) -> None:
        self.cache = cache
        self.queue: SimpleQueue[tuple[str, Facts]] = SimpleQueue()
        self.asked: set[tuple[str, Facts]] = set()
        self.lock = Lock()
        for _ in range(THREADS):
            Thread(target=self._work, daemon=True).start()

    def ask(self, location: str, facts: Facts) -> None:
        """Have a shard fetched, unless it waits already."""
        with self.lock:
            if (location, facts) in self.asked:
                return
            self.asked.add((location, facts))
        self.queue.put((location, facts))

    def _work(self) -> None:
        while True:
            location, facts = self.queue.get()
            try:
                self.cache.bring(location, facts)
            except (BlipError, OSError):
                # Whoever opens the shard tries again, and reports the error.
                continue
            finally:
                with self.lock:
                    self.asked.discard((location, facts))
