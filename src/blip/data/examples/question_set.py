"""Images with all questions about them, to evaluate a model; bad ones are counted and named."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from PIL.Image import Image

from blip.data.config import MAX_PIXELS
from blip.data.examples.kept_pictures import KeptPictures
from blip.data.examples.questions import find_questions
from blip.data.examples.sound import read_sound, say_left_out
from blip.data.examples.usable import find_picture_fault
from blip.data.faults import BadSamples
from blip.data.images import decode_image
from blip.data.keys import free_name
from blip.data.questions import AskedQuestion

LOST = "questions_without_image"


@dataclass(frozen=True, slots=True)
class AskedPicture:
    """The name of a picture and the questions about it."""

    name: str
    """As its data set calls it, else its key."""
    questions: tuple[AskedQuestion, ...]


class QuestionSet:
    """Images in the order of their shards and files, each with all its questions.

    Compressed pictures are kept, in memory as far as `kept_pictures.MEMORY` goes.
    """

    def __init__(
        self, shards: Iterable[str], *, most: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Read all that `shards` name, up to `most` images.

        Every picture is decoded once here, so that no broken one is met later. Identifiers that
        repeat get the sample's key before them. Raises UsageError if there are no shards, and
        BlipError if nothing in them can be asked.
        """
        self.max_pixels = max_pixels
        self.pictures: list[AskedPicture] = []
        self.bad = BadSamples()
        self._contents = KeptPictures()
        self._ids: set[int | str] = set()
        find_fault = partial(find_picture_fault, max_pixels=max_pixels)
        for _, sample, questions in read_sound(
            shards, find_questions, find_fault, self.bad, LOST, len
        ):
            assert sample.image is not None
            own = tuple(self._with_own_id(one, sample.key) for one in questions)
            name = sample.meta.get("image")
            self.pictures.append(AskedPicture(name if isinstance(name, str) else sample.key, own))
            self._contents.append(sample.image)
            if len(self.pictures) == most:
                break
        say_left_out(self.bad, bool(self.pictures), "question")

    def _with_own_id(self, question: AskedQuestion, key: str) -> AskedQuestion:
        name = question.question_id
        if name in self._ids:
            name = free_name(f"{key}/{name}", self._ids)
        self._ids.add(name)
        return question if name == question.question_id else replace(question, question_id=name)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pictures)

    def counts(self) -> dict[str, int]:
        """How much was read: `images`, `questions` and `questions_without_answers`.

        Of images that are left out `questions_without_image`, where there are any.
        """
        asked = list(self.questions)
        return {
            "images": len(self),
            "questions": len(asked),
            "questions_without_answers": sum(not question.answers for question in asked),
            **self.bad.lost,
        }

    @property
    def questions(self) -> Iterator[AskedQuestion]:
        """All questions, image by image."""
        return (question for picture in self.pictures for question in picture.questions)

    def decode(self, place: int) -> Image:
        """The picture of an image, as large as it is."""
        return decode_image(self._contents[place], self.max_pixels)
