"""One shard through captioner and filter, in this process."""

from pathlib import Path

from blip.capfilt.config import NUCLEUS
from blip.capfilt.ledger.records import BatchDone, ShardOutcome, TextRecord
from blip.capfilt.models.protocols import Models
from blip.capfilt.shards.layout import Layout
from blip.capfilt.shards.settings import Settings
from blip.capfilt.shards.source import ShardTask
from blip.capfilt.stages.shard import process_shard
from tests.support.capfilt import FakeCaptioner, FakeFilter
from tests.support.ledgers import read_ledger

SETTINGS = Settings(
    captioner="c", filter="f", threshold=0.5, seed=0, captions=1, decoding=NUCLEUS, batch_size=4
)


def process(
    path: Path, out: Path, models: Models | None = None, **changed
) -> tuple[ShardOutcome, list[TextRecord]]:
    models = models or Models(FakeCaptioner(), FakeFilter())
    settings = Settings(
        **{**{name: getattr(SETTINGS, name) for name in Settings.__slots__}, **changed}
    )
    task, layout = ShardTask(name="s", path=str(path)), Layout(out)
    steps = process_shard(task, layout, settings, models, 4)
    while True:
        try:
            assert isinstance(next(steps), BatchDone)
        except StopIteration as end:
            return end.value, list(read_ledger(layout.ledger("s")))


def process_bomb(folder: str) -> str:
    """The reason in the ledger of that shard."""
    place = Path(folder)
    task, layout = ShardTask(name="s", path=str(place / "in.tar")), Layout(place / "out")
    models = Models(FakeCaptioner(), FakeFilter())
    for _ in process_shard(task, layout, SETTINGS, models, 4):
        continue
    [record] = read_ledger(layout.ledger("s"))
    return record.reason
