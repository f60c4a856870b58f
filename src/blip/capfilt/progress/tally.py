"""Adds up the outcomes of an engine: counts, failures, and reasons to stop."""

from collections.abc import Generator, Iterator
from typing import Any, final

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.engine.protocol import Done, Engine, Failed, MakeWorker, News
from blip.capfilt.ledger.records import OF_TEXTS, SOURCES, BatchDone, Counts, ShardOutcome
from blip.capfilt.progress.status import Status
from blip.capfilt.shards.source import ShardTask
from blip.errors import BlipError
from blip.log import Progress, say

FAILURES = 8
"""Number of failed shards in a row after which the job stops."""
SAMPLES_BEFORE_JUDGING = 1000
"""Samples after which `max_bad` may stop the job before its end."""


@final
class Tally:
    """Receives an engine's outcomes, shows progress, and stops a job that keeps failing."""

    def __init__(
        self, config: CapFiltConfig, bar: Progress, status: Status, counts: dict[str, Counts]
    ) -> None:
        self.config, self.bar, self.status, self.counts = config, bar, status, counts
        self.failed: list[Failed[ShardTask]] = []
        self.in_a_row = 0
        self.finished = add_up(counts)
        self.begun: dict[str, Counts] = {}
        """Counts that unfinished shards have reported so far."""
        self.seen = add_up(counts)
        """Counts of finished and unfinished shards."""

    def listen(
        self,
        engine: Engine,
        tasks: list[ShardTask],
        make_worker: MakeWorker[ShardTask, ShardOutcome],
    ) -> None:
        """Run the tasks to their end."""
        outcomes = engine.run(tasks, make_worker)
        try:
            for outcome in outcomes:
                match outcome:
                    case News(item=item, value=BatchDone(counts=news)):
                        self.begun.setdefault(item.name, Counts()).add(news)
                        self._show(news)
                    case Done(item=item, result=ShardOutcome(counts=of_shard)):
                        self._finish(item, of_shard)
                    case Failed():
                        self._fail(outcome)
                    case _:
                        raise AssertionError(f"an engine yielded {outcome!r}")
        finally:
            _close(outcomes)

    def _show(self, news: Counts) -> None:
        self.seen.add(news)
        shards = f"{len(self.counts)}/{self.status.shards}"
        self.bar.advance(news.images, shards=shards, **_shares(self.seen))
        self.status.update(self.seen, len(self.counts))

    def _finish(self, item: ShardTask, of_shard: Counts) -> None:
        self.in_a_row = 0
        self.begun.pop(item.name, None)
        self.counts[item.name] = of_shard
        self.finished.add(of_shard)
        self._show(Counts())
        judge_bad(self.finished, self.config, at_end=False)

    def _fail(self, failure: Failed[ShardTask]) -> None:
        say(f"capfilt: shard {failure.item.name}: {failure.error}")
        self._show(self.begun.pop(failure.item.name, Counts()).negative())
        self.failed.append(failure)
        self.in_a_row += 1
        if failure.fatal or self.in_a_row >= FAILURES:
            raise BlipError(describe_failures(self.failed))


def add_up(counts: dict[str, Counts]) -> Counts:
    """The counts of some shards together."""
    total = Counts()
    for of_shard in counts.values():
        total.add(of_shard)
    return total


def _shares(counts: Counts) -> dict[str, str]:
    """The kept share of each source, for the progress bar."""
    shares = {}
    for source in SOURCES:
        kept, dropped = counts.texts(source)
        if kept + dropped:
            shares[f"{source}_kept"] = f"{kept / (kept + dropped):.0%}"
    if counts.images_bad:
        shares["bad"] = str(counts.images_bad)
    return shares


def judge_bad(counts: Counts, config: CapFiltConfig, *, at_end: bool) -> None:
    """Raises BlipError if more of the samples are bad than `max_bad` allows."""
    most = config.bad_share
    if most is None or not (at_end or counts.images >= SAMPLES_BEFORE_JUDGING):
        return
    if counts.images_bad > most * counts.images:
        worst = [f"{why} {n}" for why, n in counts.reasons.most_common() if why not in OF_TEXTS]
        raise BlipError(
            f"{counts.images_bad} of {counts.images} samples are bad, more than max_bad "
            f"{config.max_bad} ({', '.join(worst[:4])}); {config.out}/ledger lists them"
        )


def describe_failures(failed: list[Failed[ShardTask]]) -> str:
    """One line: the first failed shard, the reason, and what to do."""
    first = failed[0]
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return (
        f"shard {first.item.name} ({first.item.path}){more} failed: {first.error}; "
        "run the same command again to do the rest"
    )


def _close(outcomes: Iterator[Any]) -> None:
    """Stop the work of an engine; only a generator can be stopped."""
    if isinstance(outcomes, Generator):
        outcomes.close()
