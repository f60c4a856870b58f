"""Pairs of images with all statements about them, to evaluate a model; bad ones are named."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL.Image import Image

from blip.data.config import MAX_PIXELS
from blip.data.examples.kept_pictures import KeptPictures
from blip.data.examples.sound import read_sound, say_left_out
from blip.data.examples.statements import find_statements
from blip.data.examples.usable import find_picture_fault
from blip.data.faults import BadSamples, Fault
from blip.data.images import decode_image
from blip.data.keys import free_name
from blip.data.statements import PairStatement

DUPLICATE = "duplicate_identifier"
LOST = "statements_without_images"


@dataclass(frozen=True, slots=True)
class StatedImages:
    """Two pictures, by their numbers in the set, and the statements about them."""

    left: int
    right: int
    statements: tuple[PairStatement, ...]


class StatementSet:
    """Pairs in the order of their shards and files, each with all its statements.

    Compressed pictures are kept, in memory as far as `kept_pictures.MEMORY` goes; one that several
    pairs show is kept once.
    """

    def __init__(
        self, shards: Iterable[str], *, most: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Read all that `shards` name, up to `most` pairs.

        Every picture is decoded once here, so that no broken one is met later. A statement whose
        identifier came before is left out, as a server takes one prediction for each; one
        without is called by its sample's key and its number there. Raises UsageError if there
        are no shards, and BlipError if nothing in them is a statement.
        """
        self.max_pixels = max_pixels
        self.pairs: list[StatedImages] = []
        self.bad = BadSamples()
        self._known: set[int | str] = set()
        self._contents = KeptPictures()
        self._numbers: dict[bytes, int] = {}
        """Of the kept pictures, by the digest of their bytes."""
        for shard, sample, statements in read_sound(
            shards, find_statements, self._find_fault, self.bad, LOST, len, pictures=2
        ):
            named = [self._with_own_id(one, sample.key) for one in statements]
            fresh = [one for one in named if one.identifier not in self._known]
            again = [one for one in named if one.identifier in self._known]
            self.bad.add(
                Fault(Path(shard).name, sample.key, f"{DUPLICATE}: {one.identifier}")
                for one in again
            )
            self._known |= {one.identifier for one in fresh}
            if fresh:
                assert sample.image is not None
                pictures = (sample.image, *sample.more_images)
                left, right = (self._numbers[_digest(content)] for content in pictures)
                self.pairs.append(StatedImages(left, right, tuple(fresh)))
            if len(self.pairs) == most:
                break
        say_left_out(self.bad, bool(self.pairs), "statement")

    def _with_own_id(self, statement: PairStatement, key: str) -> PairStatement:
        if statement.is_named:
            return statement
        return replace(
            statement, identifier=free_name(f"{key}/{statement.identifier}", self._known)
        )

    def _find_fault(self, content: bytes) -> str | None:
        """What is wrong with a picture; a sound one is kept."""
        digest = _digest(content)
        if digest in self._numbers:
            return None
        fault = find_picture_fault(content, self.max_pixels)
        if fault is None:
            self._numbers[digest] = len(self._contents)
            self._contents.append(content)
        return fault

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def counts(self) -> dict[str, int]:
        """How much was read: `pairs`, `statements` and `statements_without_labels`.

        Of pairs that are left out `statements_without_images`, where there are any.
        """
        stated = list(self.statements)
        return {
            "pairs": len(self),
            "statements": len(stated),
            "statements_without_labels": sum(one.label is None for one in stated),
            **self.bad.lost,
        }

    @property
    def statements(self) -> Iterator[PairStatement]:
        """All statements, pair by pair."""
        return (statement for pair in self.pairs for statement in pair.statements)

    def decode(self, places: Iterable[int]) -> list[tuple[Image, Image]]:
        """The pictures of some pairs, as large as they are; equal ones are the same object."""
        pairs = [self.pairs[place] for place in places]
        numbers = dict.fromkeys(number for pair in pairs for number in (pair.left, pair.right))
        decoded = {
            number: decode_image(self._contents[number], self.max_pixels) for number in numbers
        }
        return [(decoded[pair.left], decoded[pair.right]) for pair in pairs]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
