"""Texts of different lengths laid end to end, so that nothing is computed for padding."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from blip.nn.device import send


@dataclass(frozen=True, slots=True)
class Grid:
    """Where things that lie end to end stand in rows of equal length; other places are empty."""

    place: Int[Tensor, " things"] | None
    """Counted through all rows. None where things fill all places, in their order."""
    rows: int
    columns: int

    def pad(self, laid: Shaped[Tensor, "things *rest"]) -> Shaped[Tensor, "rows columns *rest"]:
        """Set things into their places, zeros into empty ones."""
        rest = laid.shape[1:]
        if self.place is not None:
            laid = _spread(laid, self.place, self.rows * self.columns)
        return laid.reshape(self.rows, self.columns, *rest)

    def lay(self, padded: Shaped[Tensor, "rows columns *rest"]) -> Shaped[Tensor, "things *rest"]:
        """Undo `pad`."""
        laid = padded.flatten(0, 1)
        return laid if self.place is None else _Gather.apply(laid, self.place)

    def to(self, device: torch.device) -> "Grid":
        """The same on another device."""
        return self if self.place is None else replace(self, place=send(self.place, device))

    def beside(self, other: "Grid") -> "Grid":
        """Rows that hold what mine do, and behind that what the rows of `other` do."""
        row, column = self._row_and_column()
        other_row, other_column = other._row_and_column()
        held = row.bincount(minlength=self.rows)
        columns = int((held + other_row.bincount(minlength=self.rows)).max())
        column = torch.cat([column, other_column + held[other_row]])
        return _grid(torch.cat([row, other_row]), column, self.rows, columns)

    def _row_and_column(self) -> tuple[Int[Tensor, " things"], Int[Tensor, " things"]]:
        place = torch.arange(self.rows * self.columns) if self.place is None else self.place
        return place // max(self.columns, 1), place % max(self.columns, 1)


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
class Rows:
    """Rows of equal length that hold whole texts, one behind another: what attends at once."""

    tokens: Grid
    firsts: Grid
    """The first tokens alone, in as many rows."""
    number: Int[Tensor, "rows columns"]
    """Which text of its row the token in each place is of, counted from 1; 0 where there is none.
    """
    alone: bool
    """Whether each row is one text and no place is empty."""

    def see(
        self, *, causal: bool, hidden: Bool[Tensor, " tokens"] | None = None
    ) -> Bool[Tensor, "rows 1 columns columns"] | None:
        """What each token may see: its own text, nothing `hidden`, and if `causal` nothing later.

        None where that is all of its row, or all that is not later.
        """
        if self.alone and hidden is None:
            return None
        # Empty places see each other: what saw nothing might come out as no number.
        same = self.number[:, None, :, None] == self.number[:, None, None, :]
        if hidden is not None:
            same = same & ~self.tokens.pad(hidden)[:, None, None, :]
        return same.tril() if causal else same

    def firsts_see(self) -> Bool[Tensor, "rows 1 firsts columns"] | None:
        """What the first token of each text may see: its own text. None: all of its row."""
        if self.alone:
            return None
        number = self.number[:, None, None, :]
        text = torch.arange(1, self.firsts.columns + 1, device=number.device)[:, None]
        return (number == text) | (text > number.amax(dim=-1, keepdim=True))

    def to(self, device: torch.device) -> "Rows":
        """The same on another device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            firsts=self.firsts.to(device),
            number=send(self.number, device),
        )


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Where the tokens of texts, laid end to end, stand among the texts."""

    texts: Grid
    """A row for each text, as long as the longest."""
    rows: Rows
    """The texts as they attend to themselves."""
    first: Int[Tensor, " texts"]
    """Number of the first token of each text."""
    position: Int[Tensor, " tokens"]
    """Place of each token in its text."""

    def to(self, device: torch.device) -> "EndToEnd":
        """The same on another device, which is not waited for."""
        return EndToEnd(
            texts=self.texts.to(device),
            rows=self.rows.to(device),
            first=send(self.first, device),
            position=send(self.position, device),
        )

    def take(self, given: Shaped[Tensor, "texts length"]) -> Shaped[Tensor, " tokens"]:
        """What belongs to the tokens, of what belongs to the places of the texts."""
        return self.texts.lay(given[:, : self.texts.columns])


def lay_end_to_end(lengths: Int[Tensor, " texts"], *, tile: int = 1) -> EndToEnd:
    """How to lay texts of these lengths (on the CPU).

    Rows in which they attend to themselves are a multiple of `tile` long.
    """
    longest = int(lengths.max())
    number, position = torch.arange(len(lengths)), _positions(lengths)
    return EndToEnd(
        texts=_grid(number.repeat_interleave(lengths), position, len(lengths), longest),
        rows=_fill_rows(lengths, -(-longest // tile) * tile),
        first=lengths.cumsum(0) - lengths,
        position=position,
    )


class Queries(NamedTuple):
    """Where the tokens of texts stand in rows, one for each memory that they read."""

    tokens: Grid
    """The tokens of all texts that read a memory, one text after another."""
    firsts: Grid
    """Their first tokens alone."""


def lay_queries(
    lengths: Int[Tensor, " texts"],
    memories: int,
    memory_of_text: Int[Tensor, " texts"] | None = None,
) -> Queries:
    """How texts of these lengths (on the CPU) read `memories` memories.

    `memory_of_text` says which one each text reads, in any order; without it text `i` reads memory
    `i // (texts / memories)`.
    """
    if memory_of_text is None:
        texts = len(lengths)
        memory_of_text = torch.arange(texts) // (texts // memories)
    return Queries(
        _one_behind_another(lengths, memory_of_text, memories),
        _one_behind_another(torch.ones_like(lengths), memory_of_text, memories),
    )


def _fill_rows(lengths: Int[Tensor, " texts"], columns: int) -> Rows:
    """As many texts in a row as it has room for, in their order."""
    ends, begins = lengths.cumsum(0).tolist(), [0]
    while begins[-1] < len(ends):
        before = ends[begins[-1] - 1] if begins[-1] else 0
        begins.append(bisect_right(ends, before + columns))
    held = torch.tensor(begins).diff()
    rows = len(held)
    row_of_text = torch.arange(rows).repeat_interleave(held)
    tokens = _one_behind_another(lengths, row_of_text, rows, columns)
    return Rows(
        tokens,
        firsts=_one_behind_another(torch.ones_like(lengths), row_of_text, rows),
        number=tokens.pad((_positions(held) + 1).repeat_interleave(lengths)),
        alone=tokens.place is None and rows == len(lengths),
    )


def _one_behind_another(
    lengths: Int[Tensor, " texts"],
    row_of_text: Int[Tensor, " texts"],
    rows: int,
    columns: int | None = None,
) -> Grid:
    """The tokens of the texts of a row; without `columns` as many as the fullest row needs."""
    held = torch.zeros(rows, dtype=torch.int64).index_add_(0, row_of_text, lengths)
    order = row_of_text.argsort(stable=True)
    start = torch.empty_like(lengths)
    start[order] = lengths[order].cumsum(0) - lengths[order]
    start -= (held.cumsum(0) - held)[row_of_text]
    column = start.repeat_interleave(lengths) + _positions(lengths)
    columns = int(held.max()) if columns is None else columns
    return _grid(row_of_text.repeat_interleave(lengths), column, rows, columns)


def _positions(lengths: Int[Tensor, " texts"]) -> Int[Tensor, " tokens"]:
    """0, 1, 2, ... for each text."""
    first = lengths.cumsum(0) - lengths
    tokens = int(lengths.sum())
    return torch.arange(tokens) - first.repeat_interleave(lengths, output_size=tokens)


def _grid(row: Tensor, column: Tensor, rows: int, columns: int) -> Grid:
    place = row * columns + column
    all_in_order = len(place) == rows * columns and torch.equal(place, torch.arange(len(place)))
    return Grid(None if all_in_order else place, rows, columns)
