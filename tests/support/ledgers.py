"""The rows of a CapFilt ledger as records."""

from collections.abc import Iterator
from pathlib import Path

from blip.capfilt.ledger.files import read_rows, to_record
from blip.capfilt.ledger.records import TextRecord, output_key


def read_ledger(path: Path) -> Iterator[TextRecord]:
    """The records of a ledger file in their order."""
    return map(to_record, read_rows([path]))


def key_of(record: TextRecord) -> str:
    """Key of the record's text in the output shard."""
    return output_key(record.key, record.source, record.number)
