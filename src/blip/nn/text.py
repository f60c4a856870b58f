"""The text transformer: BERT layers with cross-attention, read as an encoder or as a decoder."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout

from blip.nn.attention import AttentionSizes, PastTexts, SelfAttention
from blip.nn.cross import CrossAttention, CrossRead, PairCrossAttention
from blip.nn.end_to_end import EndToEnd, Grid
from blip.nn.initialisation import draw_weights, initial_spread
from blip.nn.linear import Linear
from blip.nn.memory import ImageMemory, PairMemory, StateMemory
from blip.nn.mode import BOTH_MODES, Mode
from blip.nn.per_mode import PerMode
from blip.nn.reading import Pass, Reading, make_padded_pass, make_pass, read_together

NORM_EPS = 1e-12


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, residual and norm."""

    def __init__(self, sizes: AttentionSizes, mlp_width: int) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.input = Linear(sizes.width, mlp_width)
        self.output = Linear(mlp_width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(self, hidden: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """One feed-forward pass."""
        update = self.output(self.input.then_gelu(hidden))
        return self.norm(hidden + dropout(update, self.dropout, self.training))


class TextEmbedding(nn.Module):
    """Words and positions; no token types."""

    def __init__(self, vocabulary_size: int, positions: int, sizes: AttentionSizes) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.words = nn.Embedding(vocabulary_size, sizes.width)
        self.positions = nn.Embedding(positions, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(
        self, ids: Int[Tensor, "batch length"], first_position: int = 0
    ) -> Float[Tensor, "batch length width"]:
        """Token ids to states; the first token stands at `first_position`."""
        last = first_position + ids.shape[1]
        self._check(last)
        return self._finish(self.words(ids) + self.positions.weight[first_position:last])

    def read(
        self, ids: Int[Tensor, "texts length"], texts: EndToEnd
    ) -> Float[Tensor, "tokens width"]:
        """Ids of texts to states of their tokens, laid end to end."""
        self._check(texts.texts.columns)
        return self._finish(self.words(texts.take(ids)) + self.positions(texts.position))

    def _check(self, length: int) -> None:
        if length > self.positions.num_embeddings:
            raise ValueError(
                f"a text of {length} tokens is longer than this model's "
                f"{self.positions.num_embeddings} positions"
            )

    def _finish(self, embedded: Tensor) -> Tensor:
        return dropout(self.norm(embedded), self.dropout, self.training)


Cross = CrossAttention | PairCrossAttention
Memory = ImageMemory | StateMemory | PairMemory
MakeCross = Callable[[int, Mode], Cross]
"""`(number of the layer, mode) -> cross-attention`."""


class TextLayer(nn.Module):
    """Self-attention, cross-attention for grounded passes, feed-forward; each shared or not."""

    def __init__(
        self,
        sizes: AttentionSizes,
        *,
        mlp_width: int,
        make_cross: Callable[[Mode], Cross] | None,
        shared: frozenset[str],
        modes: tuple[Mode, ...],
    ) -> None:
        super().__init__()
        self.self_attention = PerMode(
            lambda _: SelfAttention(sizes), shared="self_attention" in shared, modes=modes
        )
        self.cross_attention = (
            None
            if make_cross is None
            else PerMode(make_cross, shared="cross_attention" in shared, modes=modes)
        )
        self.mlp = PerMode(
            lambda _: FeedForward(sizes, mlp_width), shared="mlp" in shared, modes=modes
        )

    def cross(self, mode: Mode) -> Cross:
        """The cross-attention that serves `mode`."""
        if self.cross_attention is None:
            raise ValueError("this text transformer was built without cross-attention")
        return self.cross_attention.select(mode)

    @property
    def shares_all_but_self_attention(self) -> bool:
        """Whether what follows self-attention is the same in both modes."""
        return self.mlp.shared and (self.cross_attention is None or self.cross_attention.shared)

    def forward(
        self,
        hidden: Float[Tensor, "tokens width"],
        reading: Reading,
        memory: Any,
        *,
        last: bool = False,
    ) -> Float[Tensor, "rows width"]:
        """States of the tokens of all passes; the `last` layer gives those alone that are wanted.

        Passes of several modes are read together only where these share all but self-attention.
        """
        modes = {one.mode for one in reading.passes}
        assert len(modes) == 1 or self.shares_all_but_self_attention
        parts = [
            self._attend(part, one, visible, firsts=last and one.firsts)
            for part, one, visible in zip(
                reading.split(hidden), reading.passes, reading.visible, strict=True
            )
        ]
        hidden = _join(parts)
        queries = reading.wanted_queries if last else reading.queries
        return self.after_self_attention(hidden, reading.passes[0].mode, memory, queries)

    def _attend(self, hidden: Tensor, one: Pass, visible: Tensor | None, *, firsts: bool) -> Tensor:
        attention = self.self_attention.select(one.mode)
        if firsts:
            return attention.first_states(hidden, one.texts)
        return attention(hidden, one.texts.rows, visible, causal=one.causal)

    def after_self_attention(
        self,
        hidden: Float[Tensor, "*rows width"],
        mode: Mode,
        memory: Any,
        queries: Grid | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Cross-attention, where there is something to be grounded in, and feed-forward."""
        if memory is not None:
            hidden = self.cross(mode)(hidden, memory, queries)
        return self.mlp.select(mode)(hidden)


class TextTransformer(nn.Module):
    """Token ids in, one state a token out.

    `shared` names the parts of a layer ("self_attention", "cross_attention", "mlp") and
    "embedding" that exist once for both modes. `make_cross` None builds a text-only encoder.
    """

    def __init__(  # noqa: PLR0913 (the published sizes, each its own number)
        self,
        *,
        vocabulary_size: int,
        positions: int,
        depth: int,
        sizes: AttentionSizes,
        mlp_width: int,
        make_cross: MakeCross | None,
        shared: frozenset[str],
        modes: tuple[Mode, ...] = BOTH_MODES,
    ) -> None:
        super().__init__()
        self.embedding = PerMode(
            lambda _: TextEmbedding(vocabulary_size, positions, sizes),
            shared="embedding" in shared,
            modes=modes,
        )
        self.layers = nn.ModuleList(
            TextLayer(
                sizes,
                mlp_width=mlp_width,
                make_cross=None if make_cross is None else partial(make_cross, index),
                shared=shared,
                modes=modes,
            )
            for index in range(depth)
        )
        draw_weights(self, initial_spread(sizes.width))

    def remember(
        self,
        states: Float[Tensor, "memories tokens memory_width"],
        *,
        mode: Mode,
        visible: Bool[Tensor, "memories tokens"] | None = None,
        part: Literal["read", "left", "right"] = "read",
    ) -> ImageMemory:
        """Cross-attention keys and values of all layers, for any number of later text passes.

        `part` says which of a pair's two attentions is to read them. In inference mode, what a
        decoder is to read at every step is laid out for that.
        """
        reads = [cast(CrossRead, getattr(layer.cross(mode), part)) for layer in self._layers()]
        steps = mode == "causal" and torch.is_inference_mode_enabled()
        pairs = [read.remember(states, for_steps=steps) for read in reads]
        seen = None if visible is None else visible.to(states.device)
        return ImageMemory(tuple(k for k, _ in pairs), tuple(v for _, v in pairs), seen)

    def forward(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        *,
        mode: Mode,
        memory: Memory | None = None,
    ) -> Float[Tensor, "texts length width"]:
        """Read whole texts; without `memory` cross-attention is skipped.

        Texts are padded at the right. Row `i` reads memory `i // (texts // len(memory))`. States
        of padding are meaningless in causal mode and must not be read in either.
        """
        (states,) = self.read(memory, make_padded_pass(ids, visible, mode, _memories(memory)))
        return states.view(*ids.shape, -1)

    def first_states(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        *,
        memory: Memory | None = None,
    ) -> Float[Tensor, "texts width"]:
        """`forward` in bidirectional mode, the first state of each text alone.

        The last layer computes nothing for the other tokens, whose states nobody would read.
        `visible` is best on the CPU: a GPU would have to be waited for.
        """
        one = make_pass(ids, visible, "bidirectional", _memories(memory), firsts=True)
        (states,) = self.read(memory, one)
        return states

    def read(self, memory: Memory | None, *passes: Pass) -> tuple[Float[Tensor, "rows width"], ...]:
        """What each pass wants; all read `memory`.

        Passes of both modes may be read together where these share all but self-attention.
        """
        reading = read_together(*passes)
        hidden = _join(
            [self.embedding.select(one.mode).read(one.ids, one.texts) for one in reading.passes]
        )
        end = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, reading, _layer_memory(memory, index), last=index == end)
        return reading.split(hidden, wanted=True)

    def continue_text(
        self, ids: Int[Tensor, "rows new"], past: PastTexts, memory: Memory | None
    ) -> Float[Tensor, "rows new width"]:
        """Read `ids` behind what `past` holds, causally, and add them to it."""
        hidden = self.embedding.select("causal")(ids, past.length)
        for index, layer in enumerate(self._layers()):
            attention = layer.self_attention.select("causal")
            hidden = attention.continue_text(hidden, past, index)
            hidden = layer.after_self_attention(hidden, "causal", _layer_memory(memory, index))
        return hidden

    def _layers(self) -> list[TextLayer]:
        return cast(list[TextLayer], list(self.layers))


def _layer_memory(memory: Memory | None, index: int) -> Any:
    return None if memory is None else memory.layer(index)


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _memories(memory: Memory | None) -> int | None:
    return None if memory is None else len(memory)


def empty_past(transformer: TextTransformer) -> PastTexts:
    """A cache for `TextTransformer.continue_text` that holds nothing yet."""
    return PastTexts(len(transformer.layers))
