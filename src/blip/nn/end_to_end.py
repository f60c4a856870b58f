"""Texts of different lengths laid end to end, so that nothing is computed for padding."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from blip.nn.device import send


@dataclass(frozen=True, slots=True)
class Grid:
    """Where things that lie end to end stand in rows of equal length; the other places are empty.

    They come in the order of their places, counted through all rows.
    """

    place: Int[Tensor, " things"] | None
    """None where no place is empty."""
    rows: int
    columns: int

    def pad(self, laid: Shaped[Tensor, "things *rest"]) -> Shaped[Tensor, "rows columns *rest"]:
        """Set things into their places, zeros into empty ones."""
        rest = laid.shape[1:]
        if self.place is not None:
            laid = _spread(laid, self.place, self.rows * self.columns)
        return laid.reshape(self.rows, self.columns, *rest)

    def to(self, device: torch.device) -> "Grid":
        """The same on another device."""
        return self if self.place is None else replace(self, place=send(self.place, device))

    def lay(self, padded: Shaped[Tensor, "rows columns *rest"]) -> Shaped[Tensor, "things *rest"]:
        """Undo `pad`."""
        laid = padded.flatten(0, 1)
        return laid if self.place is None else _Gather.apply(laid, self.place)


def _spread(laid: Tensor, place: Tensor, places: int) -> Tensor:
    return laid.new_zeros(places, *laid.shape[1:]).index_copy_(0, place, laid)


class _Gather(torch.autograd.Function):
    """`index_select` of places that differ: no gradients meet, so that none need be added up."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.places = len(padded)
        return padded.index_select(0, place)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return _spread(grad_outputs[0], place, ctx.places), None


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Where the tokens of texts, laid end to end, stand among texts and among what texts read."""

    texts: Grid
    """A row for each text, as long as the longest."""
    memories: Grid
    """A row for each memory: the tokens of all texts that read it, one text after another."""
    firsts: Grid
    """A row for each memory: the first tokens alone."""
    order: Int[Tensor, " texts"] | None
    """Which of the given texts come first, second and so on; None where they stay as given."""
    first: Int[Tensor, " texts"]
    """Number of the first token of each text."""
    position: Int[Tensor, " tokens"]
    """Place of each token in its text."""
    visible: Bool[Tensor, "texts 1 1 columns"] | None
    """Which places of the texts' rows hold a token; None where all do."""

    def to(self, device: torch.device) -> "EndToEnd":
        """The same on another device, which is not waited for."""
        if self.first.device == device:
            return self
        return EndToEnd(
            texts=self.texts.to(device),
            memories=self.memories.to(device),
            firsts=self.firsts.to(device),
            order=None if self.order is None else send(self.order, device),
            first=send(self.first, device),
            position=send(self.position, device),
            visible=None if self.visible is None else send(self.visible, device),
        )

    def take(self, given: Shaped[Tensor, "texts length"]) -> Shaped[Tensor, " tokens"]:
        """What belongs to the tokens, of what belongs to the places of the texts as given."""
        if self.order is not None:
            given = given[self.order]
        return self.texts.lay(given[:, : self.texts.columns])

    def give_back(self, of_texts: Shaped[Tensor, "texts *rest"]) -> Shaped[Tensor, "texts *rest"]:
        """Rows of texts in the order in which these were given."""
        return of_texts if self.order is None else of_texts[self.order.argsort()]


def lay_end_to_end(
    visible: Bool[Tensor, "texts length"],
    memories: int,
    memory_of_text: Int[Tensor, " texts"] | None = None,
) -> EndToEnd:
    """How to lay texts that are padded at the right and read `memories` memories.

    `memory_of_text` says which one each text reads, in any order; without it text `i` reads memory
    `i // (texts / memories)`. Sizes are read from the device of `visible`, which is waited for:
    where that is the CPU, a GPU is not.
    """
    texts, device = len(visible), visible.device
    order = None
    if memory_of_text is None:
        memory_of_text = torch.arange(texts, device=device) // (texts // memories)
    else:
        memory_of_text = memory_of_text.to(device)
        order = memory_of_text.argsort(stable=True)
        memory_of_text, visible = memory_of_text[order], visible[order]
    lengths = visible.sum(dim=1)
    starts = lengths.cumsum(0) - lengths
    held = torch.zeros(2, memories, dtype=torch.int64, device=device)
    held.index_add_(1, memory_of_text, torch.stack([lengths, torch.ones_like(lengths)]))
    # One look at the device for all sizes.
    longest, tokens, most_tokens, most_texts = torch.stack(
        [lengths.max(), lengths.sum(), *held.amax(dim=1)]
    ).tolist()
    text = torch.arange(texts, device=device).repeat_interleave(lengths, output_size=tokens)
    number = torch.arange(tokens, device=device)
    position = number - starts[text]
    before = held.cumsum(dim=1) - held
    in_memory = number - before[0, memory_of_text][text]
    first_in_memory = torch.arange(texts, device=device) - before[1, memory_of_text]
    padded = tokens < texts * longest
    return EndToEnd(
        texts=_grid(text, position, texts, longest),
        memories=_grid(memory_of_text[text], in_memory, memories, most_tokens),
        firsts=_grid(memory_of_text, first_in_memory, memories, most_texts),
        order=order,
        first=starts,
        position=position,
        visible=visible[:, None, None, :longest] if padded else None,
    )


def _grid(row: Tensor, column: Tensor, rows: int, columns: int) -> Grid:
    full = len(row) == rows * columns
    return Grid(None if full else row * columns + column, rows, columns)
