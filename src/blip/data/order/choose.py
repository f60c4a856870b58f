"""Which order a configuration asks for: in memory, or streamed."""

from blip.data.config import DataConfig
from blip.data.order.in_memory import MEMORY_BYTES, MemoryOrder
from blip.data.order.index import Check
from blip.data.order.order import Order
from blip.data.order.streamed import StreamedOrder
from blip.data.readers.remote import is_remote
from blip.data.readers.sources import find_sources, list_files
from blip.errors import UsageError


def open_order(config: DataConfig, check: Check, noun: str) -> Order:
    """The order of the sources; what lies in memory is read and checked here.

    `noun` is what an example is called in messages. Raises UsageError if shards are missing, and
    BlipError if nothing in them can be used.
    """
    return StreamedOrder(config) if is_streamed(config) else MemoryOrder(config, check, noun)


def is_streamed(config: DataConfig) -> bool:
    """Whether `config` asks for a stream, or its shards do.

    Raises UsageError for shards that are missing, or are remote and must not be streamed.
    """
    if config.stream == "always":
        return True
    patterns = [pattern for source in config.sources for pattern in source.shards]
    remote = [p for p in patterns if is_remote(p)]
    if config.stream == "never":
        if remote:
            raise UsageError(f"stream must be auto or always where shards are remote: {remote[0]}")
        return False
    if remote:
        return True
    files = [file for place in find_sources(patterns) for file in list_files(place)]
    return sum(file.stat().st_size for file in files) > MEMORY_BYTES
