"""The text transformer: BERT layers with cross-attention, read as an encoder or as a decoder."""

from typing import cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu

from blip.nn.attention import AttentionSizes, CrossAttention, PastTexts, SelfAttention
from blip.nn.initialisation import draw_weights, initial_spread
from blip.nn.memory import ImageMemory
from blip.nn.per_mode import BOTH_MODES, Mode, PerMode

NORM_EPS = 1e-12


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, residual and norm."""

    def __init__(self, sizes: AttentionSizes, mlp_width: int) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.input = nn.Linear(sizes.width, mlp_width)
        self.output = nn.Linear(mlp_width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(
        self, hidden: Float[Tensor, "batch length width"]
    ) -> Float[Tensor, "batch length width"]:
        """One feed-forward pass."""
        update = self.output(gelu(self.input(hidden)))
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
        if last > self.positions.num_embeddings:
            raise ValueError(
                f"a text of {last} tokens is longer than this model's "
                f"{self.positions.num_embeddings} positions"
            )
        hidden = self.words(ids) + self.positions.weight[first_position:last]
        return dropout(self.norm(hidden), self.dropout, self.training)


class TextLayer(nn.Module):
    """Self-attention, cross-attention for grounded passes, feed-forward; each shared or not."""

    def __init__(
        self,
        sizes: AttentionSizes,
        *,
        mlp_width: int,
        memory_width: int | None,
        shared: frozenset[str],
        modes: tuple[Mode, ...],
    ) -> None:
        super().__init__()
        self.self_attention = PerMode(
            lambda: SelfAttention(sizes), shared="self_attention" in shared, modes=modes
        )
        self.cross_attention = (
            None
            if memory_width is None
            else PerMode(
                lambda: CrossAttention(sizes, memory_width=memory_width),
                shared="cross_attention" in shared,
                modes=modes,
            )
        )
        self.mlp = PerMode(
            lambda: FeedForward(sizes, mlp_width), shared="mlp" in shared, modes=modes
        )


class TextTransformer(nn.Module):
    """Token ids in, one state a token out.

    `shared` names the parts of a layer ("self_attention", "cross_attention", "mlp") and
    "embedding" that exist once for both modes. `memory_width` None builds a text-only encoder.
    """

    def __init__(  # noqa: PLR0913 (the published sizes, each its own number)
        self,
        *,
        vocabulary_size: int,
        positions: int,
        depth: int,
        sizes: AttentionSizes,
        mlp_width: int,
        memory_width: int | None,
        shared: frozenset[str],
        modes: tuple[Mode, ...] = BOTH_MODES,
    ) -> None:
        super().__init__()
        self.embedding = PerMode(
            lambda: TextEmbedding(vocabulary_size, positions, sizes),
            shared="embedding" in shared,
            modes=modes,
        )
        self.layers = nn.ModuleList(
            TextLayer(
                sizes, mlp_width=mlp_width, memory_width=memory_width, shared=shared, modes=modes
            )
            for _ in range(depth)
        )
        draw_weights(self, initial_spread(sizes.width))

    def remember(
        self,
        states: Float[Tensor, "memories tokens memory_width"],
        *,
        mode: Mode,
        visible: Bool[Tensor, "memories tokens"] | None = None,
    ) -> ImageMemory:
        """Cross-attention keys and values of all layers, for any number of later text passes."""
        pairs = [self._cross(layer, mode).remember(states) for layer in self._layers()]
        return ImageMemory(tuple(k for k, _ in pairs), tuple(v for _, v in pairs), visible)

    def forward(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        *,
        mode: Mode,
        memory: ImageMemory | None = None,
    ) -> Float[Tensor, "texts length width"]:
        """Read whole texts; without `memory` cross-attention is skipped.

        Texts are padded at the right. Row `i` reads memory `i // (texts // len(memory))`. States
        of padding are meaningless in causal mode and must not be read in either.
        """
        hidden = self.embedding.select(mode)(ids)
        causal = mode == "causal"
        # With padding at the right, a causal pass never looks at it: no mask is needed.
        mask = None if causal else visible[:, None, None, :]
        for index, layer in enumerate(self._layers()):
            hidden = layer.self_attention.select(mode)(hidden, mask, causal=causal)
            hidden = self._rest(layer, index, hidden, mode, memory)
        return hidden

    def continue_text(
        self, ids: Int[Tensor, "rows new"], past: PastTexts, memory: ImageMemory | None
    ) -> Float[Tensor, "rows new width"]:
        """Read `ids` behind what `past` holds, causally, and add them to it."""
        hidden = self.embedding.select("causal")(ids, past.length)
        for index, layer in enumerate(self._layers()):
            attention = layer.self_attention.select("causal")
            hidden = attention.continue_text(hidden, past, index)
            hidden = self._rest(layer, index, hidden, "causal", memory)
        return hidden

    def _layers(self) -> list[TextLayer]:
        return cast(list[TextLayer], list(self.layers))

    def _rest(
        self, layer: TextLayer, index: int, hidden: Tensor, mode: Mode, memory: ImageMemory | None
    ) -> Tensor:
        if memory is not None:
            mask = None if memory.visible is None else memory.visible[:, None, None, :]
            cross = self._cross(layer, mode)
            hidden = cross(hidden, memory.keys[index], memory.values[index], mask)
        return layer.mlp.select(mode)(hidden)

    @staticmethod
    def _cross(layer: TextLayer, mode: Mode) -> CrossAttention:
        if layer.cross_attention is None:
            raise ValueError("this text transformer was built without cross-attention")
        return layer.cross_attention.select(mode)


def empty_past(transformer: TextTransformer) -> PastTexts:
    """A cache for `TextTransformer.continue_text` that holds nothing yet."""
    return PastTexts(len(transformer.layers))
