"""Pictures in, captions out."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError, NotFiniteError
from blip.generation.config import CompileChoice, DecodingConfig
from blip.inference.base import BATCH_SIZE, PictureEncoder, Predictor
from blip.inference.decoding import decode_texts, rows_of_each, start_within
from blip.inference.inputs import (
    check_batch_size,
    check_decoding,
    check_pictures,
    check_seed,
    list_items,
)
from blip.inference.likelihood import Likelihood, log_likelihoods, next_token_logits
from blip.inference.pixels import Picture
from blip.inference.static_matching import PassPool
from blip.inference.static_steps import StepPool
from blip.model.blip import Blip
from blip.nn.kv import ImageKV, ImageStates
from blip.nn.mode import Mode

FEW_TOKENS = 40
"""For at most so many tokens about an image a CPU is faster without its keys and values."""


class Caption(NamedTuple):
    """A text about a picture, and its likelihood under the model."""

    text: str
    log_likelihood: float
    """The sum of the log-probabilities of its tokens, given the picture and the prompt."""
    tokens: int
    """Number of these tokens; the end token counts where the text ended by itself."""

    @property
    def log_likelihood_per_token(self) -> float:
        """The mean log-probability of its tokens, to compare texts of different lengths."""
        return self.log_likelihood / self.tokens


class CaptionWriter(PictureEncoder):
    """What writes captions of pictures, batch by batch.

    Abstract: a subclass decodes the states of a batch.
    """

    @abstractmethod
    def _decode_ids(
        self,
        states: Tensor,
        count: int,
        decoding: DecodingConfig,
        seeds: Sequence[int],
        start: Sequence[int],
    ) -> list[list[int]]:
        """The ids of `count` texts of each picture (greedy decoding: one) after `start`.

        `seeds` holds one for each text. `states` are `(pictures, tokens, width)`.
        """

    @abstractmethod
    def _likelihoods(
        self, states: Tensor, start: Sequence[int], texts: Sequence[Sequence[int]], max_length: int
    ) -> list[Likelihood]:
        """The likelihood of each text after `start`, as many texts for each picture."""

    def caption(
        self,
        images: Iterable[Picture],
        decoding: DecodingConfig | None = None,
        *,
        seeds: Sequence[int] | None = None,
        batch_size: int = BATCH_SIZE,
        keep_prompt: bool = False,
    ) -> list[str]:
        """A caption for each picture; nucleus sampling draws by `seeds`, a number for each picture.

        >>> import blip
        >>> captioner = blip.Captioner.load("runs/captioner")
        >>> captioner.caption(["photo.jpg", "picture.png"])
        ['a dog on a beach', 'a red circle']

        Pictures and the other arguments are as in `captions`.
        """
        seed_lists = None if seeds is None else [[seed] for seed in list_items("seeds", seeds)]
        rows = self.captions(
            images, 1, decoding, seeds=seed_lists, batch_size=batch_size, keep_prompt=keep_prompt
        )
        return [texts[0] for texts in rows]

    def captions(
        self,
        images: Iterable[Picture],
        count: int,
        decoding: DecodingConfig | None = None,
        *,
        seeds: Sequence[Sequence[int]] | None = None,
        batch_size: int = BATCH_SIZE,
        keep_prompt: bool = False,
    ) -> list[list[str]]:
        """`count` captions for each picture, which is encoded once.

        A picture is whatever `blip.read_image` takes; at most `batch_size` pictures go through the
        model together. `seeds` holds `count` numbers for each picture, by which nucleus sampling
        draws. Beam search gives its best texts, the best first; greedy decoding writes one text and
        repeats it. A caption comes without the prompt, unless `keep_prompt` is true.

        Raises ArgumentError (a ValueError) where `count` is greater than the number of beams, if
        the prompt leaves no room for a text, and for a single picture in place of a list;
        BadImageError for a picture that cannot be used; NotFiniteError if the model gives NaN.

        >>> captioner = blip.Captioner.load("runs/captioner")
        >>> captioner.captions(["photo.jpg"], 2)
        [['a dog on a beach', 'a dog runs along the water']]
        """
        batches = self._batches(images, count, decoding or DecodingConfig(), seeds, batch_size)
        return [row for batch in batches for row in self._texts(batch, keep_prompt)]

    def scored_captions(
        self,
        images: Iterable[Picture],
        count: int = 1,
        decoding: DecodingConfig | None = None,
        *,
        seeds: Sequence[Sequence[int]] | None = None,
        batch_size: int = BATCH_SIZE,
        keep_prompt: bool = False,
    ) -> list[list[Caption]]:
        """The captions that `captions` gives, with the likelihood of each under the model.

        >>> captioner = blip.Captioner.load("runs/captioner")
        >>> ((caption,),) = captioner.scored_captions(["photo.jpg"])
        >>> caption
        Caption(text='a dog on a beach', log_likelihood=-4.7, tokens=6)
        """
        decoding, captions = decoding or DecodingConfig(), list[list[Caption]]()
        for batch in self._batches(images, count, decoding, seeds, batch_size):
            likelihoods = iter(self._score(batch, decoding))
            captions += [
                [Caption(text, *next(likelihoods)) for text in row]
                for row in self._texts(batch, keep_prompt)
            ]
        return captions

    def _batches(
        self,
        images: Iterable[Picture],
        count: int,
        decoding: DecodingConfig,
        seeds: Sequence[Sequence[int]] | None,
        batch_size: int,
    ) -> Iterator["_Batch"]:
        check_batch_size(batch_size)
        check_decoding(decoding)
        if count < 1:
            raise ArgumentError(f"count must be positive, got {count}")
        if decoding.kind == "beam" and count > decoding.beams:
            raise ArgumentError(f"count must not be above beams ({decoding.beams}), got {count}")
        pictures = check_pictures(images)
        start = start_within(self.config.text, self.tokenizer, decoding)
        if seeds is None:
            seeds = [[image * count + n for n in range(count)] for image in range(len(pictures))]
        if len(seeds) != len(pictures):
            raise ArgumentError(f"{len(pictures)} pictures need as many seeds, got {len(seeds)}")
        for seed in chain.from_iterable(seeds):
            check_seed("a seed", seed)
        for part in self._parts(pictures, batch_size):
            first, stop = part.start, part.stop
            with torch.inference_mode():
                states = self.encode(pictures[first:stop], first)
                try:
                    rows = self._decode(states, count, decoding, seeds[first:stop], start)
                except NotFiniteError as error:
                    raise self._name_picture(error, pictures[first:stop], first) from error
            yield _Batch(states, start, rows)

    def _decode(
        self,
        states: Tensor,
        count: int,
        decoding: DecodingConfig,
        seeds: Sequence[Sequence[int]],
        start: list[int],
    ) -> list[list[list[int]]]:
        flat = [seed for row in seeds for seed in row]
        ids = self._decode_ids(states, count, decoding, flat, start)
        if decoding.kind == "greedy":
            return [[text] * count for text in ids]
        return [ids[first : first + count] for first in range(0, len(ids), count)]

    def _texts(self, batch: "_Batch", keep_prompt: bool) -> list[list[str]]:
        prompt = batch.start[1:] if keep_prompt else []
        return [
            [self.tokenizer.decode([*prompt, *ids]).strip() for ids in row] for row in batch.rows
        ]

    def _score(self, batch: "_Batch", decoding: DecodingConfig) -> list[Likelihood]:
        texts = [ids for row in batch.rows for ids in row]
        return self._likelihoods(batch.states, batch.start, texts, decoding.max_length)


class Captioner(CaptionWriter, Predictor[Blip]):
    """Writes captions with a model's image-grounded decoder."""

    def __init__(self, model: Blip, tokenizer: Tokenizer) -> None:
        """Raises UsageError for a model that has no text decoder."""
        super().__init__(model, tokenizer)
        self._steps = StepPool(model)
        self._passes = PassPool(model)

    def compile(self, choice: CompileChoice, *, required: bool = False) -> None:
        """Choose how encoder and decoding steps run; captions are the same but for rounding.

        `on` has torch compile them, and on a GPU captures them as CUDA graphs: that takes minutes
        for each batch size that occurs, and pays for many pictures. Where it does not work, a line
        says so and the model goes on, unless it is `required`: then captions raise CompileError.
        `off` compiles nothing. `auto`, as at first, is `off` until
        captured steps have been measured on a GPU. With `on`, a captioner serves one thread at a
        time, and on a GPU the next call of `encode` replaces the states of the one before.

        Raises ArgumentError for another choice, and UsageError for `on` and a model in int8.
        """
        self._steps = StepPool(self.model, choice, required=required)
        self._passes = PassPool(self.model, choice, required=required)

    @classmethod
    def _needs(cls) -> tuple[type[Blip], Mode]:
        return Blip, "causal"

    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        return self._passes.encode(pixels)

    def _decode_ids(
        self,
        states: Tensor,
        count: int,
        decoding: DecodingConfig,
        seeds: Sequence[int],
        start: Sequence[int],
    ) -> list[list[int]]:
        return decode_texts(
            self.model,
            self._project(states, decoding, count),
            start,
            self.tokenizer.sep_id,
            decoding,
            count=count,
            seeds=seeds,
            pool=self._steps,
        )

    @torch.inference_mode()
    def _likelihoods(
        self, states: Tensor, start: Sequence[int], texts: Sequence[Sequence[int]], max_length: int
    ) -> list[Likelihood]:
        kv = self.model.project_image(states, "causal")
        return log_likelihoods(
            next_token_logits(self.model), kv, start, texts, self.tokenizer.sep_id, max_length
        )

    def _project(
        self, states: Tensor, decoding: DecodingConfig, count: int
    ) -> ImageKV | ImageStates:
        rows = rows_of_each(decoding, count)
        few = rows * decoding.max_length <= FEW_TOKENS and not self.model.is_int8
        if states.is_cpu and few and not self._steps.is_used:
            return ImageStates(states)
        return self.model.project_image(states, "causal")


class _Batch(NamedTuple):
    """The decoded captions of some pictures."""

    states: Tensor
    """States of the pictures, `(pictures, tokens, width)`."""
    start: list[int]
    """The ids with which every caption starts: the start token and the prompt."""
    rows: list[list[list[int]]]
    """The ids of each caption of each picture, without `start`."""
