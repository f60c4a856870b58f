"""All that a checkpoint can do, by one value: pictures and texts in any form in, answers out."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar, final, overload

import numpy as np
from jaxtyping import Float32

from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError, UsageError
from blip.generation.config import CompileChoice, DecodingConfig
from blip.inference.abilities import abilities, cannot, other_answerer
from blip.inference.answerer import Answerer
from blip.inference.base import BATCH_SIZE, Predictor
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import KINDS
from blip.inference.comparer import Comparer, Judgement
from blip.inference.dialogue_answerer import DialogueAnswerer
from blip.inference.discussion import discuss
from blip.inference.embedder import Embedder
from blip.inference.fixed_shapes import check_compile
from blip.inference.inputs import check_seed, list_items, list_pictures, list_texts
from blip.inference.matcher import Matcher, Scores
from blip.inference.one_or_many import Images, Texts, first_or_all, in_shape
from blip.inference.pixels import Picture
from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.model.dialogue import DialogueModel
from blip.model.make import Model

AnyPredictor = TypeVar("AnyPredictor", bound=Predictor)


@final
class LoadedModel:
    """A checkpoint that `blip.load` opened: captions, matches, answers, judgements and features.

    One picture in gives one answer out, a list gives a list; the same holds for texts. A picture is
    whatever `blip.read_image` takes, the path of a video or its frames; at most `batch_size` of
    them go through the model together. `can` names what this model can do.

    >>> import blip
    >>> m = blip.load("runs/captioner")
    >>> m.caption("photo.jpg")
    'a dog on a beach'
    >>> m.can
    ('caption',)

    Everything else that a model can do, such as several scored captions, it does by `captioner`,
    `matcher`, `answerer`, `comparer`, `dialogue_answerer` and `embedder`, which share its weights.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, source: str, path: Path) -> None:
        self.model = model
        """In evaluation mode."""
        self.tokenizer = tokenizer
        self.source = source
        """As it was named to `blip.load`."""
        self.path = path
        """The file of the weights."""
        self._compile: CompileChoice = "auto"

    def __repr__(self) -> str:
        return f"<{self.source}, {KINDS[type(self.model)]}: {', '.join(self.can)}>"

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.model.config

    @property
    def can(self) -> tuple[str, ...]:
        """The methods that this model has the parts for.

        >>> blip.load("runs/filter").can
        ('match', 'image_features', 'text_features')
        """
        return abilities(self.model)

    def compile(self, choice: CompileChoice) -> None:
        """Choose how captions, scores and features are computed; the same but for rounding.

        `on` has torch compile the passes of the model, and on a GPU captures them as CUDA graphs,
        as `Captioner.compile` and `Matcher.compile` do for their part. It pays for many pictures.

        >>> m = blip.load("runs/captioner")
        >>> m.compile("off")

        Raises ArgumentError for another choice, and UsageError if the model is none that
        captions or matches, or in int8.
        """
        check_compile(choice, self.model)
        if choice == "on" and not isinstance(self.model, Blip):
            raise UsageError(
                f"{self.source}: compile is for captions, matches and features, and this is "
                f"{KINDS[type(self.model)]}"
            )
        self._compile = choice
        for name in ("captioner", "matcher", "embedder"):
            # Opened anew when it is next needed.
            self.__dict__.pop(name, None)

    @cached_property
    def captioner(self) -> Captioner:
        """Writes captions; raises UsageError if the model cannot."""
        return self._open(Captioner, "caption")

    @cached_property
    def matcher(self) -> Matcher:
        """Scores texts against pictures; raises UsageError if the model cannot."""
        return self._open(Matcher, "match")

    @cached_property
    def embedder(self) -> Embedder:
        """Features of pictures and texts; raises UsageError if the model has none."""
        return self._open(Embedder, "image_features")

    @cached_property
    def answerer(self) -> Answerer:
        """Answers questions; raises UsageError if the model cannot."""
        return self._open(Answerer, "ask")

    @cached_property
    def dialogue_answerer(self) -> DialogueAnswerer:
        """Answers questions of dialogues; raises UsageError if the model cannot."""
        return self._open(DialogueAnswerer, "ask")

    @cached_property
    def comparer(self) -> Comparer:
        """Judges statements about two pictures; raises UsageError if the model cannot."""
        return self._open(Comparer, "compare")

    @overload
    def caption(  # pyright: ignore[reportOverlappingOverload] (a str is one picture)
        self,
        images: Picture,
        decoding: DecodingConfig | None = None,
        *,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> str: ...
    @overload
    def caption(
        self,
        images: Iterable[Picture],
        decoding: DecodingConfig | None = None,
        *,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> list[str]: ...
    def caption(
        self,
        images: Images,
        decoding: DecodingConfig | None = None,
        *,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> str | list[str]:
        """A caption for each picture.

        Without `decoding`, beam search with 3 beams writes 5 to 20 tokens. Nucleus sampling draws
        by `seed` and the place of the picture. Errors are those of `Captioner.captions`.

        >>> m = blip.load("runs/captioner")
        >>> m.caption(["photo.jpg", "picture.png"])
        ['a dog on a beach', 'a red circle']
        >>> m.caption("photo.jpg", blip.DecodingConfig(kind="nucleus", top_p=0.9), seed=7)
        'a dog that runs along the water'
        """
        pictures, is_one = list_pictures(images)
        check_seed("seed", seed)
        seeds = [seed + place for place in range(len(pictures))]
        return first_or_all(
            self.captioner.caption(pictures, decoding, seeds=seeds, batch_size=batch_size), is_one
        )

    @overload
    def match(  # pyright: ignore[reportOverlappingOverload] (a str is one picture)
        self, images: Picture, texts: str, *, batch_size: int = BATCH_SIZE
    ) -> Scores: ...
    @overload
    def match(
        self, images: Picture, texts: Iterable[str], *, batch_size: int = BATCH_SIZE
    ) -> list[Scores]: ...
    @overload
    def match(
        self, images: Iterable[Picture], texts: str, *, batch_size: int = BATCH_SIZE
    ) -> list[Scores]: ...
    @overload
    def match(
        self, images: Iterable[Picture], texts: Iterable[str], *, batch_size: int = BATCH_SIZE
    ) -> list[list[Scores]]: ...
    def match(
        self, images: Images, texts: Texts, *, batch_size: int = BATCH_SIZE
    ) -> Scores | list[Scores] | list[list[Scores]]:
        """How well texts match pictures: the probability (ITM), and the cosine of features (ITC).

        Every text is scored against every picture, a row for each picture. Errors are those of
        `Matcher.scores`, which takes other texts for each picture.

        >>> m = blip.load("runs/filter")
        >>> m.match("photo.jpg", "a dog on a beach")
        Scores(probability=0.97, cosine=0.41)
        >>> [round(score.probability) for score in m.match("photo.jpg", ["a dog", "a cat"])]
        [1, 0]
        """
        (pictures, one_picture), (rows, one_text) = (
            list_pictures(images),
            list_texts("texts", texts),
        )
        found = self.matcher.scores(pictures, [rows] * len(pictures), batch_size=batch_size)
        return in_shape(found, one_picture, one_text)

    @overload
    def ask(  # pyright: ignore[reportOverlappingOverload] (a str is one picture)
        self,
        images: Picture,
        questions: str,
        *,
        candidates: Iterable[str] | None = None,
        caption: str = "",
        history: Iterable[tuple[str, str]] = (),
        batch_size: int = BATCH_SIZE,
    ) -> str: ...
    @overload
    def ask(
        self,
        images: Picture,
        questions: Iterable[str],
        *,
        candidates: Iterable[str] | None = None,
        caption: str = "",
        history: Iterable[tuple[str, str]] = (),
        batch_size: int = BATCH_SIZE,
    ) -> list[str]: ...
    @overload
    def ask(
        self,
        images: Iterable[Picture],
        questions: str,
        *,
        candidates: Iterable[str] | None = None,
        caption: str = "",
        history: Iterable[tuple[str, str]] = (),
        batch_size: int = BATCH_SIZE,
    ) -> list[str]: ...
    @overload
    def ask(
        self,
        images: Iterable[Picture],
        questions: Iterable[str],
        *,
        candidates: Iterable[str] | None = None,
        caption: str = "",
        history: Iterable[tuple[str, str]] = (),
        batch_size: int = BATCH_SIZE,
    ) -> list[list[str]]: ...
    def ask(
        self,
        images: Images,
        questions: Texts,
        *,
        candidates: Iterable[str] | None = None,
        caption: str = "",
        history: Iterable[tuple[str, str]] = (),
        batch_size: int = BATCH_SIZE,
    ) -> str | list[str] | list[list[str]]:
        """An answer to every question about every picture, a row for each picture.

        The model writes it, or chooses the likeliest of `candidates`. A model for dialogues asks
        several questions one after another, each after those before it; `caption` says what the
        picture shows, and `history` holds earlier questions with their answers. Errors are those of
        `Answerer` and `DialogueAnswerer`; raises ArgumentError (a ValueError), too, for `caption`
        and `history` with a model for single questions.

        >>> m = blip.load("runs/vqa")
        >>> m.ask("photo.jpg", "what is on the beach?")
        'a dog'
        >>> m.ask("photo.jpg", ["what colour is it?", "how many?"], candidates=["red", "two"])
        ['red', 'two']
        """
        pictures, one_picture = list_pictures(images)
        rows, one_text = list_texts("questions", questions)
        rounds = list_items("history", history)
        answers = None if candidates is None else list_texts("candidates", candidates)[0]
        if isinstance(self.model, DialogueModel):
            found = self._discuss(pictures, caption, rounds, rows, answers, batch_size)
            return in_shape(found, one_picture, one_text)
        if caption or rounds:
            raise ArgumentError(f"caption and history are for dialogues; {self.source} knows none")
        asked = [rows] * len(pictures)
        if answers is None:
            found = self.answerer.answer(pictures, asked, batch_size=batch_size)
        else:
            ranked = self.answerer.rank(pictures, asked, answers, batch_size=batch_size)
            found = [[best.answer for best in row] for row in ranked]
        return in_shape(found, one_picture, one_text)

    @overload
    def compare(  # pyright: ignore[reportOverlappingOverload] (a str is one picture)
        self, left: Picture, right: Picture, texts: str, *, batch_size: int = BATCH_SIZE
    ) -> Judgement: ...
    @overload
    def compare(
        self, left: Picture, right: Picture, texts: Iterable[str], *, batch_size: int = BATCH_SIZE
    ) -> list[Judgement]: ...
    @overload
    def compare(
        self,
        left: Iterable[Picture],
        right: Iterable[Picture],
        texts: str,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[Judgement]: ...
    @overload
    def compare(
        self,
        left: Iterable[Picture],
        right: Iterable[Picture],
        texts: Iterable[str],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Judgement]]: ...
    def compare(
        self, left: Images, right: Images, texts: Texts, *, batch_size: int = BATCH_SIZE
    ) -> Judgement | list[Judgement] | list[list[Judgement]]:
        """Whether statements are true of two pictures, or of each pair `left[i]`, `right[i]`.

        Every text is judged of every pair, a row for each pair. Errors are those of
        `Comparer.judge`, which takes other statements for each pair.

        >>> m = blip.load("runs/nlvr")
        >>> m.compare("photo.jpg", "picture.png", "both show a dog")
        Judgement(is_true=False, probability=0.03)
        """
        (lefts, one_left), (rights, one_right) = list_pictures(left), list_pictures(right)
        if one_left != one_right:
            raise ArgumentError("left and right must both be a picture, or both a list of pictures")
        rows, one_text = list_texts("texts", texts)
        found = self.comparer.judge(lefts, rights, [rows] * len(lefts), batch_size=batch_size)
        return in_shape(found, one_left, one_text)

    def image_features(
        self, images: Images, *, batch_size: int = BATCH_SIZE
    ) -> Float32[np.ndarray, "*images projection"]:
        """Unit vectors of pictures as ITC compares them; errors are those of `Embedder`.

        `(projection,)` for one picture, `(images, projection)` for a list.

        >>> m = blip.load("runs/filter")
        >>> m.image_features(["photo.jpg", "picture.png"]) @ m.text_features("a dog")
        array([0.41, 0.13], dtype=float32)
        """
        pictures, is_one = list_pictures(images)
        features = self.embedder.embed_images(pictures, batch_size=batch_size)
        return features[0] if is_one else features

    def text_features(
        self, texts: Texts, *, batch_size: int = BATCH_SIZE
    ) -> Float32[np.ndarray, "*texts projection"]:
        """Unit vectors of texts as ITC compares them: `(projection,)`, or `(texts, projection)`."""
        rows, is_one = list_texts("texts", texts)
        if "text_features" not in self.can:
            raise cannot(self.source, self.model, "text_features")
        features = self.embedder.embed_texts(rows, batch_size=batch_size)
        return features[0] if is_one else features

    def _discuss(
        self,
        images: Sequence[Picture],
        caption: str,
        history: Sequence[tuple[str, str]],
        questions: Sequence[str],
        candidates: list[str] | None,
        batch_size: int,
    ) -> list[list[str]]:
        answerer = self.dialogue_answerer
        if candidates is None and "causal" not in self.model.config.modes:
            raise UsageError(f"{self.source} has no text decoder; give candidates to choose from")
        found = discuss(
            answerer, images, caption, history, questions, candidates, batch_size=batch_size
        )
        return [[best if isinstance(best, str) else best[0].answer for best in of] for of in found]

    def _open(self, predictor: type[AnyPredictor], job: str) -> AnyPredictor:
        kind, _ = predictor._needs()
        if job not in self.can:
            raise cannot(self.source, self.model, job)
        if not isinstance(self.model, kind):
            raise other_answerer(self.source, self.model)
        opened = predictor(self.model, self.tokenizer)
        if isinstance(opened, Captioner | Matcher | Embedder):
            opened.compile(self._compile)
        return opened
