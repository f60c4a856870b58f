"""What a service computes: each functionality by the first of its checkpoints that can do it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from blip.data.config import MAX_PIXELS
from blip.data.images import decode_image, one_large_picture_at_a_time
from blip.data.transforms import eval_transform
from blip.errors import BlipError
from blip.generation.config import DecodingConfig
from blip.index.search import Hit, Index
from blip.inference.abilities import RELEASED
from blip.inference.attention import attention_of_words
from blip.inference.loaded_model import LoadedModel
from blip.inference.pixels import NormalisedImage
from blip.model.blip import Blip
from blip.model.dialogue import DialogueModel
from blip.pages.pictures import THUMBNAIL, thumbnail

Functionality = Literal["caption", "match", "ask", "features", "attention", "search"]
NEEDS: dict[Functionality, tuple[str, ...]] = {
    "caption": ("caption",),
    "match": ("match",),
    "ask": ("ask",),
    "features": ("image_features", "text_features"),
    "attention": ("caption", "match"),
}
"""What a loaded model must be able to do, one of these, for each that needs no index."""
OF_FILTER: tuple[Functionality, ...] = ("match", "features")
"""What a filter was fine-tuned for; a captioner may still have the parts, but not the skill."""


class NotServedError(BlipError):
    """No checkpoint of the service can do what is asked; the message says which could."""


@dataclass(frozen=True, slots=True)
class Captions:
    """Payloads: a picture and a seed for each of its captions."""

    decoding: DecodingConfig
    count: int
    functionality: Functionality = "caption"


@dataclass(frozen=True, slots=True)
class Matches:
    """Payloads: a picture and its texts."""

    functionality: Functionality = "match"


@dataclass(frozen=True, slots=True)
class Answers:
    """Payloads: a picture and its questions."""

    candidates: tuple[str, ...] | None
    functionality: Functionality = "ask"


@dataclass(frozen=True, slots=True)
class Features:
    """Payloads: pictures, or texts."""

    of: Literal["image", "text"]
    functionality: Functionality = "features"


@dataclass(frozen=True, slots=True)
class Attention:
    """Payloads: a picture and a text."""

    functionality: Functionality = "attention"


@dataclass(frozen=True, slots=True)
class Search:
    """Payloads: a text, or a picture."""

    results: int
    rerank: int
    functionality: Functionality = "search"


Work = Captions | Matches | Answers | Features | Attention | Search
"""What requests of one group have in common."""


class Models:
    """Checkpoints that are open, and an index."""

    def __init__(
        self,
        models: Sequence[LoadedModel],
        index: Index | None = None,
        max_pixels: int = MAX_PIXELS,
        *,
        filter: LoadedModel | None = None,
    ) -> None:
        """`filter` matches and gives features, though others can; it comes last for all else."""
        self.index, self.max_pixels, self.filter = index, max_pixels, filter
        self.models = (*models, *(() if filter is None else (filter,)))
        # Opened now: a request would wait for it, and its errors are those of the start.
        for model in self.models:
            for job in model.can:
                _open(model, job)
        if index is not None:
            _ = index.embedder, index.neighbours

    def can(self) -> dict[Functionality, str]:
        """The functionalities that are served, each with the checkpoint that does it."""
        found: dict[Functionality, str] = {}
        for job, needs in NEEDS.items():
            able = self._able(job, needs)
            if able:
                found[job] = able[0].source
        if self.index is not None:
            found["search"] = str(self.index.store.folder)
        return found

    def model_for(self, job: Functionality, needs: tuple[str, ...] = ()) -> LoadedModel:
        """The checkpoint that does a job; raises NotServedError if none does."""
        able = self._able(job, needs or NEEDS[job])
        if able:
            return able[0]
        can = ", ".join(self.can())
        released = RELEASED[(needs or NEEDS[job])[0]]
        raise NotServedError(
            f"this service can do {can}, but not {job}; start it with {released}, too, or with "
            "another checkpoint that can"
        )

    def _able(self, job: Functionality, needs: tuple[str, ...]) -> list[LoadedModel]:
        """The checkpoints that can do a job, the preferred one first."""
        first = [self.filter] if self.filter is not None and job in OF_FILTER else []
        return [model for model in (*first, *self.models) if set(needs) & set(model.can)]

    def check(self, job: Functionality) -> None:
        """Raise NotServedError where a functionality is not served."""
        if job != "search":
            self.model_for(job)
        elif self.index is None:
            raise NotServedError("this service has no index to search; start it with --index DIR")

    def read(self, job: Functionality, content: bytes) -> NormalisedImage:
        """The bytes of a picture as the model of a functionality reads them.

        Raises BadImageError for what is not a usable picture.
        """
        self.check(job)
        of_index = self.index.embedder.model if job == "search" and self.index else None
        model = of_index or self.model_for(job).model
        with one_large_picture_at_a_time(content, self.max_pixels):
            image = decode_image(content, self.max_pixels)
        return NormalisedImage(eval_transform(image, model.config.vision.image_size))

    def thumbnails(self, hits: Sequence[Hit]) -> list[str | None]:
        """The picture of each hit, small, as a data address; None where it is no longer there."""
        assert self.index is not None
        pictures = self.index.pictures([hit.row for hit in hits], side=THUMBNAIL)
        return [None if picture is None else thumbnail(picture) for picture in pictures]

    def run(self, work: Any, payloads: Sequence[Any]) -> Sequence[Any]:
        """The result of each payload; the batch goes through the model together."""
        count = len(payloads)
        match work:
            case Captions():
                images, seeds = zip(*payloads, strict=True)
                captioner = self.model_for("caption").captioner
                return captioner.scored_captions(
                    images, work.count, work.decoding, seeds=seeds, batch_size=count
                )
            case Matches():
                images, texts = zip(*payloads, strict=True)
                return self.model_for("match").matcher.scores(images, texts, batch_size=count)
            case Answers():
                return self._answer(work, payloads)
            case Features(of="image"):
                model = self.model_for("features", ("image_features",))
                return list(model.embedder.embed_images(payloads, batch_size=count))
            case Features():
                return self._embed_texts(payloads)
            case Attention():
                model = self.model_for("attention")
                assert isinstance(model.model, Blip)
                return [
                    attention_of_words(model.model, model.tokenizer, image, text)
                    for image, text in payloads
                ]
            case Search():
                return [self._search(work, query) for query in payloads]
            case _:
                raise AssertionError(work)

    def _answer(self, work: Answers, payloads: Sequence[Any]) -> Sequence[list[str]]:
        images, questions = zip(*payloads, strict=True)
        model = self.model_for("ask")
        if isinstance(model.model, DialogueModel):
            return [
                model.ask(image, asked, candidates=work.candidates)
                for image, asked in zip(images, questions, strict=True)
            ]
        if work.candidates is None:
            return model.answerer.answer(images, questions, batch_size=len(images))
        ranked = model.answerer.rank(images, questions, work.candidates, batch_size=len(images))
        return [[best.answer for best in row] for row in ranked]

    def _embed_texts(self, payloads: Sequence[Sequence[str]]) -> list[np.ndarray]:
        embedder = self.model_for("features", ("text_features",)).embedder
        together = embedder.embed_texts([text for texts in payloads for text in texts])
        ends = np.cumsum([len(texts) for texts in payloads])
        return np.split(together, ends[:-1])

    def _search(self, work: Search, query: str | NormalisedImage) -> list[Hit]:
        assert self.index is not None
        if isinstance(query, str):
            return self.index.search(query, work.results, rerank=work.rerank)
        return self.index.search_image(query, work.results)


def _open(model: LoadedModel, job: str) -> None:
    """Pack the weights that a job reads."""
    match job:
        case "caption":
            _ = model.captioner
        case "match":
            _ = model.matcher
        case "image_features" | "text_features":
            _ = model.embedder
        case "ask" if isinstance(model.model, DialogueModel):
            _ = model.dialogue_answerer
        case "ask":
            _ = model.answerer
