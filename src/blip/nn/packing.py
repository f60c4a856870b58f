"""Packed texts: the tokens of many texts one after another, without padding.

Three texts of 3, 1 and 2 tokens, padded and packed (`PackedTexts`):

    padded               packed
    a0 a1 a2             a0 a1 a2 b0 c0 c1      cu_seqlens   0 3 4 6
    b0  .  .                                    positions    0 1 2 0 0 1
    c0 c1  .

Whatever treats tokens one by one (embeddings, linear layers, norms) runs on packed states
`(tokens, width)`. Attention needs rows of equal length, so a `PaddedLayout` holds the place of
every token in such rows: `unpack` scatters packed states into rows, `pack` gathers them again.
There are two kinds of rows.

Self-attention: a row holds as many whole texts as fit into it, and a document mask keeps
them apart. Causal mode keeps the lower triangle of that mask.

    rows of 4 columns        document_ids        mask of row 0 (x: visible)
    a0 a1 a2 b0              1 1 1 2              a0  x x x .
    c0 c1  .  .              1 1 0 0              a1  x x x .
                                                  a2  x x x .
                                                  b0  . . . x

Cross-attention: a row for each image holds all tokens that attend to it (`QueryLayout`), so that
keys and values of an image are read in place and never copied for its texts. Here a and c are about
image 0, b is about image 1:

    image 0    a0 a1 a2 c0 c1
    image 1    b0  .  .  .  .

A `PackedPass` is a batch of packed texts in one mode. A `PackedBatch` joins passes over the same
images, also of both modes: layers then compute everything but self-attention together.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from blip.nn.device import send
from blip.nn.mode import Mode

GPU_TILE = 64
"""Columns that GPU attention computes at once, even if few of them hold a token."""


@dataclass(frozen=True, slots=True)
class PaddedLayout:
    """The place of each packed item in padded rows of equal length."""

    places: Int[Tensor, " items"] | None
    """`row * columns + column` of each item. None where the items fill all places in order."""
    rows: int
    columns: int

    def unpack(self, packed: Shaped[Tensor, "items *rest"]) -> Shaped[Tensor, "rows columns *rest"]:
        """Packed to padded, with zeros in empty places."""
        rest = packed.shape[1:]
        if self.places is not None:
            packed = _scatter(packed, self.places, self.rows * self.columns)
        return packed.reshape(self.rows, self.columns, *rest)

    def pack(self, padded: Shaped[Tensor, "rows columns *rest"]) -> Shaped[Tensor, "items *rest"]:
        """Padded to packed: undo `unpack`."""
        flat = padded.flatten(0, 1)
        return flat if self.places is None else _Gather.apply(flat, self.places)

    def to(self, device: torch.device) -> "PaddedLayout":
        """The same on another device."""
        return self if self.places is None else replace(self, places=send(self.places, device))

    def append(self, other: "PaddedLayout") -> "PaddedLayout":
        """Rows with the items of this layout, then those of the same row of `other`."""
        row, column = self._rows_and_columns()
        other_row, other_column = other._rows_and_columns()
        filled = row.bincount(minlength=self.rows)
        columns = int((filled + other_row.bincount(minlength=self.rows)).max())
        column = torch.cat([column, other_column + filled[other_row]])
        return _layout(torch.cat([row, other_row]), column, self.rows, columns)

    def _rows_and_columns(self) -> tuple[Int[Tensor, " items"], Int[Tensor, " items"]]:
        places = torch.arange(self.rows * self.columns) if self.places is None else self.places
        return places // max(self.columns, 1), places % max(self.columns, 1)


def _scatter(packed: Tensor, places: Tensor, size: int) -> Tensor:
    return packed.new_zeros(size, *packed.shape[1:]).index_copy_(0, places, packed)


class _Gather(torch.autograd.Function):
    """`index_select` of distinct places: its backward pass need not add up gradients."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(flat)
        return flat.index_select(0, places)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _scatter(grad_outputs[0], places, ctx.size), None


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows for self-attention: each holds whole texts, separated by a document mask."""

    tokens: PaddedLayout
    first_tokens: PaddedLayout
    """The first token of each text only, in as many rows."""
    document_ids: Int[Tensor, "rows columns"]
    """The text of its row that each token belongs to, from 1; 0 in empty places."""
    one_text_per_row: bool
    """Whether each row is exactly one text, which needs no document mask."""

    def document_mask(
        self, *, causal: bool, invisible: Bool[Tensor, " tokens"] | None = None
    ) -> Bool[Tensor, "rows 1 columns columns"] | None:
        """What each token may see: its own text, no `invisible` and, if `causal`, no later token.

        None if no mask is needed but the causal one.
        """
        if self.one_text_per_row and invisible is None:
            return None
        # Empty places see each other: a softmax over nothing may be NaN.
        mask = self.document_ids[:, None, :, None] == self.document_ids[:, None, None, :]
        if invisible is not None:
            mask = mask & ~self.tokens.unpack(invisible)[:, None, None, :]
        return mask.tril() if causal else mask

    def first_token_mask(
        self, invisible: Bool[Tensor, " tokens"] | None = None
    ) -> Bool[Tensor, "rows 1 texts_of_row columns"] | None:
        """What the first token of each text may see: its own text, and no `invisible`.

        None: all of its row.
        """
        hidden = None if invisible is None else self.tokens.unpack(invisible)[:, None, None, :]
        if self.one_text_per_row:
            return None if hidden is None else ~hidden
        ids = self.document_ids[:, None, None, :]
        text = torch.arange(1, self.first_tokens.columns + 1, device=ids.device)[:, None]
        mask = (ids == text) | (text > ids.amax(dim=-1, keepdim=True))
        return mask if hidden is None else mask & ~hidden

    def to(self, device: torch.device) -> "PackedRows":
        """The same on another device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            first_tokens=self.first_tokens.to(device),
            document_ids=send(self.document_ids, device),
        )


@dataclass(frozen=True, slots=True)
class PackedTexts:
    """How a batch of texts is packed; see the drawing at the head of this file."""

    padded: PaddedLayout
    """One row per text, as long as the longest text."""
    rows: PackedRows
    cu_seqlens: Int[Tensor, " texts_and_one"]
    """Where each text begins among the tokens, then the number of tokens."""
    positions: Int[Tensor, " tokens"]
    """Position of each token in its text."""

    @property
    def first_tokens(self) -> Int[Tensor, " texts"]:
        """Index of the first token of each text."""
        return self.cu_seqlens[:-1]

    def to(self, device: torch.device) -> "PackedTexts":
        """The same on another device, without waiting for it."""
        return PackedTexts(
            padded=self.padded.to(device),
            rows=self.rows.to(device),
            cu_seqlens=send(self.cu_seqlens, device),
            positions=send(self.positions, device),
        )

    def pack(self, padded: Shaped[Tensor, "texts length"]) -> Shaped[Tensor, " tokens"]:
        """Values of padded texts to values of their tokens."""
        return self.padded.pack(padded[:, : self.padded.columns])


def pack_texts(lengths: Int[Tensor, " texts"], *, tile: int = 1) -> PackedTexts:
    """How to pack texts of these lengths (on the CPU), in rows of a multiple of `tile` columns.

    Raises ValueError for no texts.
    """
    if not len(lengths):
        raise ValueError("there are no texts to encode")
    longest = int(lengths.max())
    text, positions = torch.arange(len(lengths)), _positions(lengths)
    return PackedTexts(
        padded=_layout(text.repeat_interleave(lengths), positions, len(lengths), longest),
        rows=_fill_rows(lengths, -(-longest // tile) * tile),
        cu_seqlens=torch.nn.functional.pad(lengths.cumsum(0), (1, 0)),
        positions=positions,
    )


class QueryLayout(NamedTuple):
    """Rows for cross-attention: one per image, with all tokens that attend to it."""

    tokens: PaddedLayout
    """The tokens of all texts about an image, text after text."""
    first_tokens: PaddedLayout
    """Their first tokens only."""


def group_by_image(
    lengths: Int[Tensor, " texts"],
    images: int,
    image_of_text: Int[Tensor, " texts"] | None = None,
) -> QueryLayout:
    """How texts of these lengths (on the CPU) attend to `images` images.

    `image_of_text` is the image of each text, in any order; without it text `i` is about image
    `i // (texts / images)`. Raises ValueError if images do not have equally many texts then, and
    for an image that is not there.
    """
    if image_of_text is None:
        texts = len(lengths)
        if images == 0 or texts % images:
            raise ValueError(
                f"{texts} texts cannot be about {images} images, equally many about each; "
                "say which by `image_of_text`"
            )
        image_of_text = torch.arange(texts) // max(texts // images, 1)
    elif ((image_of_text < 0) | (image_of_text >= images)).any():
        raise ValueError(f"`image_of_text` names an image that is not among the {images} images")
    return QueryLayout(
        _concatenate_in_rows(lengths, image_of_text, images),
        _concatenate_in_rows(torch.ones_like(lengths), image_of_text, images),
    )


def _fill_rows(lengths: Int[Tensor, " texts"], columns: int) -> PackedRows:
    """Fill rows with texts in their order, as many as fit into each."""
    ends, begins = lengths.cumsum(0).tolist(), [0]
    while begins[-1] < len(ends):
        before = ends[begins[-1] - 1] if begins[-1] else 0
        begins.append(bisect_right(ends, before + columns))
    texts_of_row = torch.tensor(begins).diff()
    rows = len(texts_of_row)
    row_of_text = torch.arange(rows).repeat_interleave(texts_of_row)
    tokens = _concatenate_in_rows(lengths, row_of_text, rows, columns)
    return PackedRows(
        tokens,
        first_tokens=_concatenate_in_rows(torch.ones_like(lengths), row_of_text, rows),
        document_ids=tokens.unpack((_positions(texts_of_row) + 1).repeat_interleave(lengths)),
        one_text_per_row=tokens.places is None and rows == len(lengths),
    )


def _concatenate_in_rows(
    lengths: Int[Tensor, " texts"],
    row_of_text: Int[Tensor, " texts"],
    rows: int,
    columns: int | None = None,
) -> PaddedLayout:
    """Place the texts of a row one after another; `columns` None fits the longest row."""
    filled = torch.zeros(rows, dtype=torch.int64).index_add_(0, row_of_text, lengths)
    order = row_of_text.argsort(stable=True)
    start = torch.empty_like(lengths)
    start[order] = lengths[order].cumsum(0) - lengths[order]
    start -= (filled.cumsum(0) - filled)[row_of_text]
    column = start.repeat_interleave(lengths) + _positions(lengths)
    columns = int(filled.max()) if columns is None else columns
    return _layout(row_of_text.repeat_interleave(lengths), column, rows, columns)


def _positions(lengths: Int[Tensor, " texts"]) -> Int[Tensor, " tokens"]:
    """0, 1, 2, ... for each text."""
    first = lengths.cumsum(0) - lengths
    tokens = int(lengths.sum())
    return torch.arange(tokens) - first.repeat_interleave(lengths, output_size=tokens)


def _layout(row: Tensor, column: Tensor, rows: int, columns: int) -> PaddedLayout:
    places = row * columns + column
    in_order = len(places) == rows * columns and torch.equal(places, torch.arange(len(places)))
    return PaddedLayout(None if in_order else places, rows, columns)


class PackedPass(NamedTuple):
    """Packed texts in one mode."""

    ids: Int[Tensor, "texts length"]
    mode: Mode
    texts: PackedTexts
    queries: QueryLayout | None
    """Which tokens attend to which image; None for a unimodal pass."""
    first_states_only: bool = False
    """Whether the last layer computes only the first state of each text."""
    invisible: Bool[Tensor, " tokens"] | None = None
    """Tokens that no token may see."""

    @property
    def causal(self) -> bool:
        """Whether tokens may not see later ones."""
        return self.mode == "causal"

    @property
    def num_states(self) -> int:
        """Number of states that the last layer computes."""
        texts = self.texts
        return len(texts.first_tokens if self.first_states_only else texts.positions)


def pack_pass(
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
    mode: Mode,
    images: int | None,
    *,
    image_of_text: Int[Tensor, " texts"] | None = None,
    first_states_only: bool = False,
) -> PackedPass:
    """Pack texts that are padded at the right and attend to `images` images, or to none if None.

    `image_of_text` as for `group_by_image`. With `visible` on the CPU, nothing waits for a GPU.
    """
    lengths = visible.sum(dim=1).cpu()
    which = None if image_of_text is None else image_of_text.cpu()
    queries = None if images is None else group_by_image(lengths, images, which)
    texts = pack_texts(lengths, tile=GPU_TILE if ids.is_cuda else 1)
    return PackedPass(ids, mode, texts, queries, first_states_only)


def pack_with_padding(
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
    mode: Mode,
    images: int | None,
) -> PackedPass:
    """A pass that includes padding, which no token sees; waits for no device."""
    whole = pack_pass(ids, torch.ones(ids.shape, dtype=torch.bool), mode, images)
    return whole._replace(invisible=~send(visible, ids.device).flatten())


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Passes over the same images, one after another, on the device of their ids."""

    passes: tuple[PackedPass, ...]
    masks: tuple[Bool[Tensor, "_ 1 _ _"] | None, ...]
    """The document mask of each pass."""
    queries: PaddedLayout | None
    """The tokens of all passes, a row per image; None for unimodal passes."""
    last_queries: PaddedLayout | None
    """The same for the states that the last layer computes."""

    def split(
        self, states: Float[Tensor, "tokens width"], *, last: bool = False
    ) -> tuple[Float[Tensor, "tokens_of_pass width"], ...]:
        """The states of each pass: of all its tokens, or those that the `last` layer computes."""
        if len(self.passes) == 1:
            return (states,)
        sizes = [one.num_states if last else len(one.texts.positions) for one in self.passes]
        return states.split(sizes)


def join_passes(*passes: PackedPass) -> PackedBatch:
    """Join passes over the same images."""
    device = passes[0].ids.device
    sent = tuple(one._replace(texts=one.texts.to(device), queries=None) for one in passes)
    attending = [(one.queries, one.first_states_only) for one in passes if one.queries is not None]
    return PackedBatch(
        sent,
        masks=tuple(
            one.texts.rows.document_mask(causal=one.causal, invisible=one.invisible) for one in sent
        ),
        queries=_append_all([queries.tokens for queries, _ in attending], device),
        last_queries=_append_all(
            [queries.first_tokens if first else queries.tokens for queries, first in attending],
            device,
        ),
    )


def _append_all(layouts: list[PaddedLayout], device: torch.device) -> PaddedLayout | None:
    return reduce(PaddedLayout.append, layouts).to(device) if layouts else None
