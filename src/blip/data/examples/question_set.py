"""Images with all questions about them, to evaluate a model; bad ones are counted and named."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL.Image import Image

from blip.data.config import MAX_PIXELS
from blip.data.examples.questions import find_questions
from blip.data.examples.usable import find_picture_fault
from blip.data.faults import BadSamples, Fault
from blip.data.images import decode_image
from blip.data.questions import AskedQuestion
from blip.data.readers.sources import find_anywhere, read_sources
from blip.errors import BlipError
from blip.log import say


@dataclass(frozen=True, slots=True)
class AskedPicture:
    """A compressed picture and the questions about it."""

    name: str
    """As its data set calls it, else its key."""
    content: bytes
    questions: tuple[AskedQuestion, ...]


class QuestionSet:
    """Images in the order of their shards and files, each with all its questions.

    Compressed pictures are kept in memory.
    """

    def __init__(
        self, shards: Iterable[str], *, most: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Read all that `shards` name, up to `most` images.

        Every picture is decoded once here, so that no broken one is met later. Identifiers that
        repeat get the sample's key before them. Raises UsageError where there are no shards, and
        BlipError where nothing in them can be asked.
        """
        self.max_pixels = max_pixels
        self.pictures: list[AskedPicture] = []
        self.bad = BadSamples()
        self._ids: set[int | str] = set()
        for shard, sample in read_sources(find_anywhere(shards)):
            if len(self.pictures) == most:
                break
            questions, reason, lost = find_questions(sample)
            if reason is None and sample.image is not None:
                reason = find_picture_fault(sample.image, max_pixels)
            if fault := reason or lost:
                self.bad.add([Fault(Path(shard).name, sample.key, fault)])
            if reason is None and sample.image is not None:
                own = tuple(self._with_own_id(one, sample.key) for one in questions)
                name = sample.meta.get("image")
                name = name if isinstance(name, str) else sample.key
                self.pictures.append(AskedPicture(name, sample.image, own))
        if self.bad:
            say(f"left out: {self.bad.describe()}")
        if not self.pictures:
            raise BlipError(f"no usable question: {self.bad.describe() or 'no sample'}")

    def _with_own_id(self, question: AskedQuestion, key: str) -> AskedQuestion:
        name, again = question.question_id, 0
        while name in self._ids:
            name = f"{key}/{question.question_id}" + (f"-{again}" if again else "")
            again += 1
        self._ids.add(name)
        return question if name == question.question_id else replace(question, question_id=name)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pictures)

    def counts(self) -> dict[str, int]:
        """How much was read: `images`, `questions` and `questions_without_answers`."""
        asked = list(self.questions)
        return {
            "images": len(self),
            "questions": len(asked),
            "questions_without_answers": sum(not question.answers for question in asked),
        }

    @property
    def questions(self) -> Iterator[AskedQuestion]:
        """All questions, image by image."""
        return (question for picture in self.pictures for question in picture.questions)

    def decode(self, place: int) -> Image:
        """The picture of an image, as large as it is."""
        return decode_image(self.pictures[place].content, self.max_pixels)
