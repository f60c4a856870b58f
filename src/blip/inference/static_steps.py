"""Decoding steps of fixed shapes for one model: made once for each size, compiled or replayed.

    batch of 5 images    -> rows for 6: the next of a few sizes; the last is for nothing
    3 are left           -> rows for 3, whose steps take over what was read and written

A size has memory of its own, so that a step has the same shapes and addresses each time. It is
compiled by torch, and on a GPU captured as a CUDA graph and replayed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blip.generation.config import CompileChoice, DecodingConfig
from blip.generation.nucleus import make_chances
from blip.generation.static import Board, Extension, choose, rows_of
from blip.generation.static_texts import write_beams, write_rows
from blip.inference.cuda_graph import capture, captures
from blip.inference.fixed_shapes import FixedShapes, many_shapes
from blip.inference.sizes import next_size
from blip.log import say
from blip.model.grounded import EncoderDecoder
from blip.nn.kv import ImageKV
from blip.nn.precision import at_least_float32
from blip.nn.static_kv import StaticKVCache

MAX_STEPS = 16
"""Sizes and kinds of decoding whose steps are kept; the one that was not used longest goes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """All that a step depends on but numbers."""

    images: int
    copies: int
    room: int
    tokens: int
    """Of an image."""
    eos_id: int
    config: DecodingConfig


class StaticSteps:
    """Steps over a fixed number of images, in memory that stays where it is."""

    def __init__(self, pool: "StepPool", shape: Shape) -> None:
        self.pool = pool
        self.shape = shape
        self.text = pool.text
        rows = shape.images * shape.copies
        self.cache: StaticKVCache = self.text.static_cache(rows, shape.room)
        self.image_kv = pool.text.static_image_kv(shape.images, shape.tokens)
        self.board = Board.empty(
            shape.images, shape.copies, shape.room, shape.config, pool.model.device
        )
        self.step: Callable[[], None] = self._make_step()

    def restart(self, image_kv: ImageKV, start_ids: Sequence[int], chances: Tensor | None) -> None:
        """Begin with these images, of which there may be fewer, after a prompt that all share."""
        device = self.pool.model.device
        index = self._fill(range(len(image_kv)))
        image_kv.select_into(self.image_kv, index)
        prompt = torch.tensor(list(start_ids), device=device)
        self.board.restart(prompt, self.shape.config.min_length, chances)
        self.cache.restart(len(prompt) - 1, self._read(image_kv, prompt[:-1], index))

    def keep(self, places: Sequence[int]) -> "StaticSteps | None":
        """Continue with the images at `places` in a smaller batch; None if there is none."""
        size = next_size(len(places))
        if size >= self.shape.images:
            return None
        smaller = self.pool.steps(size, self.shape)
        index = smaller._fill(places)
        self.image_kv.select_into(smaller.image_kv, index)
        smaller.board.continue_from(self.board, index)
        smaller.cache.continue_from(self.cache, rows_of(index, self.shape.copies))
        return smaller

    def _fill(self, places: Sequence[int]) -> Tensor:
        """These places, and the first again for rows that are for nothing."""
        filled = [*places, *[places[0]] * (self.shape.images - len(places))]
        return torch.tensor(filled, device=self.pool.model.device)

    def _read(self, image_kv: ImageKV, prompt: Tensor, index: Tensor) -> list[Tensor]:
        """Keys and values of a prompt for all rows; it is read once for each image."""
        if len(prompt) == 0:
            return []
        cache = self.text.empty_cache()
        self.text.continue_text(prompt.expand(len(image_kv), -1), cache, image_kv)
        rows = index.repeat_interleave(self.shape.copies)
        return [both.index_select(1, rows) for both in cache.tokens()]

    def _work(self) -> None:
        """One step; the host waits for nothing."""
        self._extend(self._read_and_choose())

    def _read_and_choose(self) -> Extension | None:
        model, shape, position = self.pool.model, self.shape, self.cache.position
        new = self.board.ids.index_select(1, position)
        states = self.text.continue_text(new, self.cache, self.image_kv)
        logits = at_least_float32(model.next_token_logits(states[:, -1]))
        position.add_(1)
        return choose(self.board, logits, position, shape.eos_id, shape.config)

    def _extend(self, extension: Extension | None) -> None:
        # Outside of what is compiled: inductor would reorder rows in place, while it reads them.
        if extension is not None:
            self.cache.reorder(extension.rows)
            self.board.extend(extension, self.cache.position, self.shape.config)

    def _make_step(self) -> Callable[[], None]:
        """`_work` in the fastest form that works here."""
        pool = self.pool

        def make() -> Callable[[], None]:
            work = self._compiled() if pool.compile == "on" else self._work
            on_gpu = captures(pool.model.device)
            return capture(work, self.cache.position.zero_) if on_gpu else work

        return pool.fastest(self._work, make, "decoding goes on without compiled steps")

    def _compiled(self) -> Callable[[], None]:
        images = self.shape.images
        say(f"compiling a decoding step for {images} pictures; later runs find it in torch's cache")
        compiled = torch.compile(self._read_and_choose, fullgraph=True, dynamic=False)

        def work() -> None:
            with many_shapes():
                self._extend(compiled())

        work()
        return work


class StepPool(FixedShapes[Shape, StaticSteps]):
    """The steps of one model, each made when it is first needed."""

    def __init__(
        self, model: EncoderDecoder, compile: CompileChoice = "auto", *, required: bool = False
    ) -> None:
        """Raises as `FixedShapes` does.

        `auto` and `off` leave the work to decoding that changes its shapes: on a CPU it does less,
        and on a GPU captured steps have not been measured yet.
        """
        super().__init__(model, compile, required=required)
        self.model = model
        self.text = model.text
        self._weight: tuple[object, ...] = ()

    def decode(
        self,
        image_kv: ImageKV,
        start_ids: Sequence[int],
        eos_id: int,
        config: DecodingConfig,
        *,
        copies: int,
        count: int = 1,
        seeds: Sequence[int] = (),
    ) -> list[list[int]]:
        """The ids of the texts of each image, as `decode_texts` gives them.

        `copies` rows are decoded for each image. Raises NotFiniteError if the model gives NaN.
        """
        images, start = len(image_kv), len(start_ids)
        if images == 0:
            return []
        self._follow_weights()
        room = -(-config.max_length // StaticKVCache.TILE) * StaticKVCache.TILE
        tokens = image_kv.keys[0].shape[2]
        steps = self.steps(next_size(images), Shape(images, copies, room, tokens, eos_id, config))
        chances = None
        if config.kind == "nucleus":
            chances = make_chances(seeds, config.max_length).to(self.model.device)
        steps.restart(image_kv, start_ids, chances)
        if config.kind != "beam":
            return write_rows(steps, images, start, eos_id, config)
        vocabulary = self.model.config.text.vocabulary_size
        return write_beams(steps, images, start, eos_id, config, count=count, vocabulary=vocabulary)

    def steps(self, images: int, like: Shape) -> StaticSteps:
        """Those for a number of images."""
        shape = replace(like, images=images)
        return self._keep(shape, lambda: StaticSteps(self, shape), MAX_STEPS)

    def _follow_weights(self) -> None:
        """Forget steps that were made for other weights, another number format or device."""
        text = self.model.text
        if self.compile != "on":
            # The compiler fuses these operations itself.
            text = text.for_inference("causal", grounded=True)
        weight = next(self.model.parameters())
        known = (weight.data_ptr(), weight.dtype, weight.device)
        if text is not self.text or known != self._weight:
            self.forget()
            self.text, self._weight = text, known
