"""A tar file by its headers alone: where each member lies, without reading what is in it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol
from zlib import adler32

BLOCK = 512
ADLER = 65521
ZEROS = bytes(BLOCK)
FOLDER = b"5"
LONG_NAME, PAX, PAX_GLOBAL, SPARSE = b"L", b"x", b"g", b"S"
LONGEST_EXTRA = 1 << 20
"""Most bytes of a long name or of PAX records."""
LARGEST = 1 << 62
"""Bytes that no file can be skipped by."""


class TornTarError(Exception):
    """What follows is no tar; the message says where."""


class Reader(Protocol):
    """What headers are read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        ...


class Member(NamedTuple):
    """A member of a tar: its name and where its content lies, in bytes from the start."""

    name: str
    offset: int
    size: int
    kind: bytes


def read_headers(file: Reader, skip: Callable[[int], object]) -> Iterator[Member]:
    """Members of a tar in their order, ustar, GNU and PAX; content is passed over by `skip(bytes)`.

    `skip` may be called before a member's content is wanted: a file is to be read at the offsets.
    Raises TornTarError where the tar is broken off.
    """
    offset, name, size, sparse = 0, None, None, False
    while True:
        block = file.read(BLOCK)
        if block == ZEROS:
            return
        member = _parse(block, offset)
        offset += BLOCK
        padded = -(-member.size // BLOCK) * BLOCK
        if member.kind in (LONG_NAME, PAX, PAX_GLOBAL):
            extra = file.read(padded) if member.size <= LONGEST_EXTRA else b""
            if len(extra) < padded:
                raise TornTarError(f"broken off at byte {offset}")
            if member.kind == LONG_NAME:
                name = extra[: member.size].rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif member.kind == PAX:
                name, size, sparse = _pax(extra[: member.size], name, size)
            elif any(_pax(extra[: member.size], None, None)):
                raise TornTarError(f"one name or size for all members at byte {offset}")
        else:
            if size is not None:
                padded = -(-size // BLOCK) * BLOCK
            yield Member(
                name or member.name,
                offset,
                member.size if size is None else size,
                SPARSE if sparse else member.kind,
            )
            name, size, sparse = None, None, False
            skip(padded)
        offset += padded


def _parse(block: bytes, offset: int) -> Member:
    if len(block) < BLOCK:
        # A tar ends with zeros: one that was cut between two members is known by their absence.
        raise TornTarError(f"broken off at byte {offset + len(block)}")
    try:
        told = _octal(block[148:156])
        size = (
            int.from_bytes(block[125:136], "big") if block[124] & 0x80 else _octal(block[124:136])
        )
        if not 0 <= size < LARGEST:
            raise ValueError(f"a size of {size} bytes")
    except ValueError as error:
        raise TornTarError(f"no header at byte {offset}") from error
    # A header tells the sum of its bytes, with blanks where it tells it. Adler's checksum has one
    # more than the sum in its low half, and comes from C.
    found = adler32(block[156:], adler32(block[:148])) & 0xFFFF
    if found != (told - 8 * 32 + 1) % ADLER:
        raise TornTarError(f"no header at byte {offset}")
    name = block[:100].partition(b"\0")[0]
    # GNU's old format has other things where ustar has the first part of a long name.
    if block[345] and block[257:263] == b"ustar\0":
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return Member(name.decode("utf-8", "surrogateescape"), 0, size, block[156:157])


def _octal(field: bytes) -> int:
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _pax(records: bytes, name: str | None, size: int | None) -> tuple[str | None, int | None, bool]:
    """Name and size, where they are told, and whether the member has holes."""
    sparse = False
    while records:
        length, _, _ = records.partition(b" ")
        if not (length.isdigit() and len(length) < 20 and 0 < int(length) <= len(records)):
            break
        keyword, _, value = records[len(length) + 1 : int(length) - 1].partition(b"=")
        if keyword == b"path":
            name = value.decode("utf-8", "surrogateescape")
        elif keyword == b"size" and value.isdigit():
            size = int(value) if len(value) < 20 else LARGEST
            if size >= LARGEST:
                raise TornTarError("a size that no file has")
        elif keyword.startswith(b"GNU.sparse."):
            sparse = True
        records = records[int(length) :]
    return name, size, sparse
