"""Images with the dialogues about them, to evaluate a model; bad ones are counted and named."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image

from blip.data.config import MAX_PIXELS
from blip.data.dialogues import DUPLICATE_IMAGE, Dialogue, Round, Turn
from blip.data.examples.dialogues import find_dialogue
from blip.data.examples.kept_pictures import KeptPictures
from blip.data.examples.sound import read_sound, say_left_out
from blip.data.examples.usable import find_picture_fault
from blip.data.faults import BadSamples, Fault
from blip.data.images import decode_image
from blip.data.keys import storable
from blip.data.sample import OFFICIAL_ID

LOST = "rounds_without_image"


@dataclass(frozen=True, slots=True)
class PictureDialogue:
    """The identifier of a picture and the dialogue about it."""

    image_id: int | str
    """The official one, or the sample's key."""
    dialogue: Dialogue

    @property
    def ranked(self) -> list[int]:
        """Numbers of the rounds, from 0, that have options to rank."""
        return [number for number, one in enumerate(self.dialogue.rounds) if one.options]

    @property
    def turns(self) -> list[Turn]:
        """The question of each of these rounds, with the dialogue before it."""
        return [self.dialogue.turn(number) for number in self.ranked]


class DialogueSet:
    """Images in the order of their shards and files, each with its dialogue.

    Compressed pictures are kept, in memory as far as `kept_pictures.MEMORY` goes.
    """

    def __init__(
        self, shards: Iterable[str], *, most: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Read all that `shards` name, up to `most` images.

        Every picture is decoded once here, so that no broken one is met later. An image whose
        official number came before is left out, as a server takes one row for each of its rounds.
        Raises UsageError if there are no shards, and BlipError if nothing in them can be
        ranked.
        """
        self.max_pixels = max_pixels
        self.pictures: list[PictureDialogue] = []
        self.bad = BadSamples()
        self._contents = KeptPictures()
        find_fault = partial(find_picture_fault, max_pixels=max_pixels)
        known: set[int] = set()
        for shard, sample, dialogue in read_sound(
            shards, find_dialogue, find_fault, self.bad, LOST, _count_ranked
        ):
            assert sample.image is not None
            assert dialogue is not None
            official = _official_id(sample.meta)
            if official in known:
                fault = f"{DUPLICATE_IMAGE}: {official}"
                self.bad.add([Fault(Path(shard).name, sample.key, fault)])
                continue
            if official is not None:
                known.add(official)
            image_id = storable(sample.key) if official is None else official
            self.pictures.append(PictureDialogue(image_id, dialogue))
            self._contents.append(sample.image)
            if len(self.pictures) == most:
                break
        any_ranked = any(picture.ranked for picture in self.pictures)
        say_left_out(self.bad, any_ranked, "dialogue", where_none="no options")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pictures)

    def counts(self) -> dict[str, int]:
        """How much was read: `images`, `rounds` to rank and `rounds_without_answers`.

        Of images that are left out `rounds_without_image`, where there are any.
        """
        ranked = list(self.ranked_rounds)
        return {
            "images": len(self),
            "rounds": len(ranked),
            "rounds_without_answers": sum(one.answer_index is None for _, _, one in ranked),
            **self.bad.lost,
        }

    @property
    def ranked_rounds(self) -> Iterator[tuple[PictureDialogue, int, Round]]:
        """Picture, number from 0 and round of all that have options, image by image."""
        return (
            (picture, number, picture.dialogue.rounds[number])
            for picture in self.pictures
            for number in picture.ranked
        )

    def decode(self, place: int) -> Image:
        """The picture of an image, as large as it is."""
        return decode_image(self._contents[place], self.max_pixels)


def _count_ranked(dialogue: Dialogue | None) -> int:
    return 0 if dialogue is None else sum(bool(one.options) for one in dialogue.rounds)


def _official_id(meta: dict[str, Any]) -> int | None:
    own = meta.get(OFFICIAL_ID)
    return own if isinstance(own, int) and not isinstance(own, bool) else None
