"""Encoding and matching in passes of fixed shapes, each made for a size, compiled or replayed.

    5 pictures               -> 6: the next of a few sizes; the last is for nothing
    5 texts of each          -> 6
    their longest 11 tokens  -> 16: the next multiple of 8

Image encoder, keys and values, text passes with their heads are a pass each. The host knows the
lengths of the texts, and hides their padding by a mask: nothing waits for the device. A pass is
compiled by torch, and on a GPU captured as a CUDA graph.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.generation.config import CompileChoice
from blip.inference.cuda_graph import capture, captures
from blip.inference.fixed_shapes import FixedShapes, many_shapes
from blip.inference.sizes import next_size
from blip.log import say
from blip.model.blip import Blip
from blip.model.heads import unit_features
from blip.nn.device import send
from blip.nn.kv import ImageKV
from blip.nn.packing import PackedPass, pack_pass
from blip.nn.precision import at_least_float32

MAX_PASSES = 48
"""Passes that are kept; the one that was not used longest goes."""
LENGTH = 8
"""Texts are padded to a multiple of so many tokens; GPU kernels would copy other masks."""

Tensors = tuple[Tensor, ...]
Work = Callable[..., Tensors]


class PassPool(FixedShapes[tuple[Any, ...], Work]):
    """The passes of one model that encode and match, each made when it is first needed.

    Unless they are to be compiled, the model itself runs. What one call returns may lie where the
    next call of the same shape writes.
    """

    def __init__(
        self, model: Blip, compile: CompileChoice = "auto", *, required: bool = False
    ) -> None:
        """Raises as `FixedShapes` does; see `Matcher.compile`."""
        super().__init__(model, compile, required=required)
        self.model = model
        self._layouts: dict[tuple[int, ...], PackedPass] = {}
        self._weight: tuple[object, ...] = ()

    def forget(self) -> None:
        """Free all passes, and their layouts."""
        super().forget()
        self._layouts.clear()

    def encode(
        self, pixels: Float[Tensor, "images *frames 3 height width_pixels"]
    ) -> Float[Tensor, "images tokens width"]:
        """`Blip.encode_pixels`."""
        if not self.is_used:
            return self.model.encode_pixels(pixels)
        (states,) = self._run("image encoder", self._encode, _fill(pixels))
        return states[: len(pixels)]

    def project_image(self, states: Float[Tensor, "images tokens width"]) -> ImageKV:
        """`Blip.project_image` for matching."""
        if not self.is_used:
            return self.model.project_image(states, "bidirectional")
        both = self._run("keys and values", self._project, _fill(states))
        return _image_kv([one[: len(states)] for one in both])

    def image_features(
        self, states: Float[Tensor, "images tokens width"]
    ) -> Float[Tensor, "images projection"]:
        """`Blip.image_features`."""
        if not self.is_used:
            return self.model.image_features(states)
        (features,) = self._run("image features", self._image_features, _fill(states))
        return features[: len(states)]

    def match_probabilities(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, " texts"]:
        """ITM probabilities of the texts, which start with `[ENC]`; rows as in `Blip.ground`.

        `visible` is on the CPU.
        """
        if not self.is_used:
            logits = self.model.match_logits(ids, visible, image_kv)
            return _match_probabilities(logits)
        images = len(image_kv)
        padded = self._pad(ids, visible, images)
        both = [_fill(one) for one in (*image_kv.keys, *image_kv.values)]
        (found,) = self._run("match", self._match, *padded, *both)
        return found.view(len(both[0]), -1)[:images, : len(ids) // images].flatten()

    def text_features(
        self, ids: Int[Tensor, "texts length"], visible: Bool[Tensor, "texts length"]
    ) -> Float[Tensor, "texts projection"]:
        """`Blip.text_features`; `visible` is on the CPU."""
        if not self.is_used:
            return self.model.text_features(ids, visible)
        padded = self._pad(ids, visible, 1)
        (features,) = self._run("text features", self._text_features, *padded)
        return features[: len(ids)]

    def _encode(self, pixels: Tensor) -> Tensors:
        return (self.model.encode_pixels(pixels),)

    def _project(self, states: Tensor) -> Tensors:
        kv = self.model.project_image(states, "bidirectional")
        return *kv.keys, *kv.values

    def _image_features(self, states: Tensor) -> Tensors:
        return (self.model.image_features(states),)

    def _match(self, ids: Tensor, visible: Tensor, *both: Tensor) -> Tensors:
        states = self._first_states(ids, visible, _image_kv(both))
        return (_match_probabilities(self.model.matching_head(states)),)

    def _text_features(self, ids: Tensor, visible: Tensor) -> Tensors:
        states = self._first_states(ids, visible, None)
        return (unit_features(self.model.text_projection, states),)

    def _first_states(self, ids: Tensor, visible: Tensor, image_kv: ImageKV | None) -> Tensor:
        layout = self._layouts[_layout_key(ids, image_kv)]
        one = layout._replace(ids=ids, invisible=~visible.flatten())
        (states,) = self.model.text.forward_packed(image_kv, one)
        return states

    def _pad(
        self, ids: Tensor, visible: Tensor, images: int
    ) -> tuple[Int[Tensor, "rows columns"], Bool[Tensor, "rows columns"]]:
        """The texts of `images` images in rows of a fixed size; those for nothing repeat others."""
        positions = self.model.config.text.positions
        longest = int(visible.sum(dim=1).max())
        columns = min(-(-longest // LENGTH) * LENGTH, positions)
        places = torch.arange(len(ids)).view(images, -1)
        copies = next_size(places.shape[1])
        places = _fill(_fill(places.mT, copies).mT).flatten()
        more = (0, max(0, columns - ids.shape[1]))
        rows = ids[:, :columns].index_select(0, send(places, ids.device))
        seen = torch.nn.functional.pad(visible[:, :columns].index_select(0, places), more)
        return torch.nn.functional.pad(rows, more), send(seen, ids.device)

    def _run(self, name: str, work: Work, *inputs: Tensor) -> Tensors:
        self._follow_weights()
        key = (name, *(one.shape for one in inputs))
        return self._keep(key, lambda: self._make(name, work, inputs), MAX_PASSES)(*inputs)

    def _lay_out(self, name: str, inputs: Sequence[Tensor]) -> None:
        """Lay out a pass over texts, whose padding counts as tokens."""
        if name not in ("match", "text features"):
            return
        ids = inputs[0]
        image_kv = _image_kv(inputs[2:]) if name == "match" else None
        key = _layout_key(ids, image_kv)
        if key in self._layouts:
            # Passes over images of more or fewer tokens share it, and a graph reads its memory.
            return
        images = None if image_kv is None else len(image_kv)
        everywhere = torch.ones(ids.shape, dtype=torch.bool)
        layout = pack_pass(
            # On a GPU, too, a row is one text.
            torch.zeros(ids.shape, dtype=torch.int64),
            everywhere,
            "bidirectional",
            images,
            first_states_only=True,
        )
        texts = layout.texts.to(ids.device)
        self._layouts[key] = layout._replace(texts=texts)

    def _make(self, name: str, work: Work, inputs: Tensors) -> Work:
        """`work` in the fastest form that works here."""
        self._lay_out(name, inputs)

        def make() -> Work:
            compiled = self._compiled(name, work, inputs)
            return _captured(compiled, inputs) if captures(self.model.device) else compiled

        return self.fastest(work, make, "the model goes on without compiled passes")

    def _compiled(self, name: str, work: Work, inputs: Tensors) -> Work:
        shape = " x ".join(map(str, inputs[0].shape))
        say(f"compiling: {name}, {shape}; later runs find it in torch's cache")
        program = torch.compile(work, fullgraph=True, dynamic=False)

        def run(*tensors: Tensor) -> Tensors:
            with many_shapes():
                return program(*tensors)

        run(*inputs)
        return run

    def _follow_weights(self) -> None:
        """Forget passes that were made for other weights, another number format or device."""
        weight = next(self.model.parameters())
        known = (weight.data_ptr(), weight.dtype, weight.device)
        if known != self._weight:
            self.forget()
            self._weight = known


def _captured(work: Work, inputs: Tensors) -> Work:
    """`work` as a CUDA graph, which reads the memory of `inputs`: others are copied there."""
    outputs: list[Tensor] = []

    def run() -> None:
        outputs[:] = work(*inputs)

    replay = capture(run)

    def call(*tensors: Tensor) -> Tensors:
        for held, one in zip(inputs, tensors, strict=True):
            if held.data_ptr() != one.data_ptr():
                held.copy_(one)
        replay()
        return tuple(outputs)

    return call


def _fill(rows: Tensor, size: int | None = None) -> Tensor:
    """As many rows as the next size has: what is missing repeats the first row."""
    missing = (size or next_size(len(rows))) - len(rows)
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])]) if missing else rows


def _match_probabilities(logits: Tensor) -> Tensor:
    return at_least_float32(logits).softmax(dim=1)[:, 1]


def _image_kv(both: Sequence[Tensor]) -> ImageKV:
    depth = len(both) // 2
    return ImageKV(tuple(both[:depth]), tuple(both[depth:]))


def _layout_key(ids: Tensor, image_kv: ImageKV | None) -> tuple[int, ...]:
    return *ids.shape, 0 if image_kv is None else len(image_kv)
