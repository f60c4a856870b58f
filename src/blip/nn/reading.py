"""Passes of the text transformer, alone or together: what is read, and in which mode."""

from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.nn.end_to_end import EndToEnd, Grid, Queries, lay_end_to_end, lay_queries
from blip.nn.mode import Mode

GPU_TILE = 64
"""Places of a row that a GPU's attention computes at once, however few of them hold a token."""


class Pass(NamedTuple):
    """Texts that are to be read in one mode."""

    ids: Int[Tensor, "texts length"]
    mode: Mode
    texts: EndToEnd
    queries: Queries | None
    """None where nothing but the texts is read."""
    firsts: bool = False
    """Whether only the first state of each text is wanted."""
    hidden: Bool[Tensor, " tokens"] | None = None
    """Tokens that no other may see."""

    @property
    def causal(self) -> bool:
        """Whether later tokens are hidden."""
        return self.mode == "causal"

    @property
    def wanted(self) -> int:
        """How many states are."""
        return len(self.texts.first if self.firsts else self.texts.position)


def make_pass(
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
    mode: Mode,
    memories: int | None,
    *,
    memory_of_text: Int[Tensor, " texts"] | None = None,
    firsts: bool = False,
) -> Pass:
    """A pass over texts that are padded at the right and read `memories` memories, or none.

    Which memory a text reads is told as for `lay_queries`. Lengths are asked for where `visible`
    is: if that is the CPU, a GPU is not waited for.
    """
    lengths = visible.sum(dim=1).cpu()
    which = None if memory_of_text is None else memory_of_text.cpu()
    queries = None if memories is None else lay_queries(lengths, memories, which)
    texts = lay_end_to_end(lengths, tile=GPU_TILE if ids.is_cuda else 1)
    return Pass(ids, mode, texts, queries, firsts)


def make_padded_pass(
    ids: Int[Tensor, "texts length"],
    visible: Bool[Tensor, "texts length"],
    mode: Mode,
    memories: int | None,
) -> Pass:
    """A pass that reads padding along, hidden from all else; no device is waited for."""
    whole = make_pass(ids, torch.ones(ids.shape, dtype=torch.bool), mode, memories)
    return whole._replace(hidden=~visible.to(ids.device).flatten())


@dataclass(frozen=True, slots=True)
class Reading:
    """Passes one behind another that read the same memories, on the device of their ids.

    Layers compute together what the passes share, which is all but self-attention.
    """

    passes: tuple[Pass, ...]
    visible: tuple[Bool[Tensor, "_ 1 _ _"] | None, ...]
    """What the rows of each pass see."""
    queries: Grid | None
    wanted_queries: Grid | None
    """The same where nothing is left but the states that are wanted."""

    def split(
        self, hidden: Float[Tensor, "rows width"], *, wanted: bool = False
    ) -> tuple[Float[Tensor, "rows_of_pass width"], ...]:
        """The states of each pass: those of all tokens, or those `wanted` alone."""
        if len(self.passes) == 1:
            return (hidden,)
        sizes = [one.wanted if wanted else len(one.texts.position) for one in self.passes]
        return hidden.split(sizes)


def read_together(*passes: Pass) -> Reading:
    """Lay passes one behind another."""
    device = passes[0].ids.device
    sent = tuple(one._replace(texts=one.texts.to(device), queries=None) for one in passes)
    reading = [(one.queries, one.firsts) for one in passes if one.queries is not None]
    return Reading(
        sent,
        visible=tuple(one.texts.rows.see(causal=one.causal, hidden=one.hidden) for one in sent),
        queries=_beside([grids.tokens for grids, _ in reading], device),
        wanted_queries=_beside(
            [grids.firsts if firsts else grids.tokens for grids, firsts in reading], device
        ),
    )


def _beside(grids: list[Grid], device: torch.device) -> Grid | None:
    return reduce(Grid.beside, grids).to(device) if grids else None
