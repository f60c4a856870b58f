"""The text transformer: BERT layers with cross-attention, as an encoder or as a decoder."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.nn.attention import AttentionSizes, CrossAttention, PairCrossAttention, SelfAttention
from blip.nn.device import send
from blip.nn.init import init_std, init_weights
from blip.nn.kernels.attention import attention_of_varying_shapes
from blip.nn.kernels.moved_biases import Branch, MovedBiases, moved_biases_fit
from blip.nn.kv import AnyImageKV, AnyLayerKV, ImageKV, KVCache, LayerKV
from blip.nn.linear import Linear
from blip.nn.mode import BOTH_MODES, Mode
from blip.nn.packing import (
    PackedBatch,
    PackedPass,
    PaddedLayout,
    join_passes,
    pack_pass,
    pack_with_padding,
)
from blip.nn.per_mode import PerMode, Shared
from blip.nn.static_kv import StaticKVCache
from blip.nn.suffix_rows import SuffixRows
from blip.nn.text_embedding import TextEmbedding

NORM_EPS = 1e-12


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, residual and norm."""

    def __init__(self, sizes: AttentionSizes, mlp_width: int) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.input = Linear(sizes.width, mlp_width)
        self.output = Linear(mlp_width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=sizes.eps)

    @property
    def branch(self) -> Branch:
        """Its layers around the residual connection."""
        return Branch(self.input, self.output, self.norm)

    def forward(self, hidden: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """One feed-forward pass."""
        return self.norm(self.output.added_to(hidden, self.input.then_gelu(hidden), self.dropout))


Cross = CrossAttention | PairCrossAttention
MakeCross = Callable[[int, Mode], Cross]
"""`(index of the layer, mode) -> cross-attention`."""


class TextLayer(nn.Module):
    """Self-attention, cross-attention if image-grounded, feed-forward; each shared or per mode."""

    def __init__(
        self,
        sizes: AttentionSizes,
        *,
        mlp_width: int,
        make_cross: Callable[[Mode], Cross] | None,
        shared: Shared,
        modes: tuple[Mode, ...],
    ) -> None:
        super().__init__()
        self.self_attention = PerMode(
            lambda _: SelfAttention(sizes), shared=shared.self_attention, modes=modes
        )
        self.cross_attention = (
            None
            if make_cross is None
            else PerMode(make_cross, shared=shared.cross_attention, modes=modes)
        )
        self.mlp = PerMode(lambda _: FeedForward(sizes, mlp_width), shared=shared.mlp, modes=modes)

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
        batch: PackedBatch,
        image_kv: AnyLayerKV | None,
        *,
        last: bool = False,
    ) -> Float[Tensor, "states width"]:
        """States of the tokens of all passes; the `last` layer may compute only first states.

        Passes of both modes can run together only if these share all but self-attention.
        """
        modes = {one.mode for one in batch.passes}
        assert len(modes) == 1 or self.shares_all_but_self_attention
        parts = [
            self._attend(part, one, mask, first_states_only=last and one.first_states_only)
            for part, one, mask in zip(batch.split(hidden), batch.passes, batch.masks, strict=True)
        ]
        queries = batch.last_queries if last else batch.queries
        return self.after_self_attention(
            _concatenate(parts), batch.passes[0].mode, image_kv, queries
        )

    def with_prefix(
        self,
        hidden: Float[Tensor, "tokens width"],
        rows: SuffixRows,
        prefix: LayerKV | None,
        image_kv: AnyLayerKV | None,
    ) -> tuple[Float[Tensor, "tokens width"], LayerKV]:
        """Bidirectional states of tokens after a prefix, as in `nn/prefix.py`.

        Row `i` attends to row `i` of `prefix` and to image `i`. Returns the keys and values of its
        self-attention as well.
        """
        attention = self.self_attention.select("bidirectional")
        attended, own = attention.with_prefix(hidden, rows, prefix)
        return self.after_self_attention(attended, "bidirectional", image_kv, rows.tokens), own

    def first_states_with_prefix(
        self,
        hidden: Float[Tensor, "tokens width"],
        rows: SuffixRows,
        prefix: LayerKV,
        image_kv: AnyLayerKV | None,
    ) -> Float[Tensor, "texts width"]:
        """`with_prefix` for the first token of each text only."""
        attention = self.self_attention.select("bidirectional")
        attended = attention.first_states_with_prefix(hidden, rows, prefix)
        return self.after_self_attention(attended, "bidirectional", image_kv, rows.first_tokens)

    def branches(self, mode: Mode, *, grounded: bool) -> list[Branch] | None:
        """Those of a pass, in order; None where it attends to pairs of images, which has others."""
        branches = [self.self_attention.select(mode).branch]
        if grounded:
            cross = self.cross(mode)
            if isinstance(cross, PairCrossAttention):
                return None
            branches.append(cross.branch)
        return [*branches, self.mlp.select(mode).branch]

    def _attend(
        self, hidden: Tensor, one: PackedPass, mask: Tensor | None, *, first_states_only: bool
    ) -> Tensor:
        attention = self.self_attention.select(one.mode)
        if first_states_only:
            return attention.first_states(hidden, one.texts, one.invisible)
        return attention(hidden, one.texts.rows, mask, causal=one.causal)

    def after_self_attention(
        self,
        hidden: Float[Tensor, "*rows width"],
        mode: Mode,
        image_kv: AnyLayerKV | None,
        queries: PaddedLayout | None = None,
    ) -> Float[Tensor, "*rows width"]:
        """Cross-attention, unless `image_kv` is None, and feed-forward."""
        if image_kv is not None:
            hidden = self.cross(mode)(hidden, image_kv, queries)
        return self.mlp.select(mode)(hidden)


class TextTransformer(nn.Module):
    """Token ids in, one state per token out.

    `shared` says which parts exist once for both modes. `make_cross` None builds a text-only
    encoder.
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
        shared: Shared,
        modes: tuple[Mode, ...] = BOTH_MODES,
    ) -> None:
        super().__init__()
        self.embedding = PerMode(
            lambda _: TextEmbedding(vocabulary_size, positions, sizes),
            shared=shared.embedding,
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
        self._moved: dict[tuple[Mode, bool], MovedBiases] = {}
        init_weights(self, init_std(sizes.width))

    def for_inference(self, mode: Mode, *, grounded: bool) -> "TextTransformer":
        """The same transformer for passes in one mode, with fewer operations on a GPU.

        Where `MovedBiases` do not fit it is the transformer itself. `grounded`: the passes attend
        to images.
        """
        norm = self.embedding.select(mode).norm
        if self.training or not moved_biases_fit(norm.weight):
            return self
        layers = [layer.branches(mode, grounded=grounded) for layer in self.text_layers()]
        branches = [branch for layer in layers for branch in layer or ()]
        moved = self._moved.setdefault((mode, grounded), MovedBiases())
        return self if None in layers else moved.apply(self, norm, branches)

    def project_kv(
        self,
        *states: Float[Tensor, "images tokens kv_width"],
        mode: Mode,
        visible: Bool[Tensor, "images tokens"] | None = None,
    ) -> tuple[ImageKV, ...]:
        """Cross-attention keys and values of all layers, for any number of text passes.

        Takes the states of images, or of left and right images for texts about pairs; returns keys
        and values of each. In inference mode a decoder's are contiguous, as every step reads them.
        """
        contiguous = mode == "causal" and torch.is_inference_mode_enabled()
        visible = None if visible is None else send(visible, states[0].device)
        attentions = zip(
            *(layer.cross(mode).attentions for layer in self.text_layers()), strict=True
        )
        projected: list[ImageKV] = []
        for one, attention_of_layers in zip(states, attentions, strict=True):
            pairs = [a.project_kv(one, contiguous=contiguous) for a in attention_of_layers]
            projected.append(
                ImageKV(tuple(k for k, _ in pairs), tuple(v for _, v in pairs), visible)
            )
        return tuple(projected)

    def forward(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        *,
        mode: Mode,
        image_kv: AnyImageKV | None = None,
    ) -> Float[Tensor, "texts length width"]:
        """States of whole texts; without `image_kv` cross-attention is skipped.

        Texts are padded at the right. Row `i` is about image `i // (texts // len(image_kv))`.
        States of padding are undefined.
        """
        padded = pack_with_padding(ids, visible, mode, _num_images(image_kv))
        transformer = self.for_inference(mode, grounded=image_kv is not None)
        (states,) = transformer.forward_packed(image_kv, padded)
        return states.view(*ids.shape, -1)

    def first_states(
        self,
        ids: Int[Tensor, "texts length"],
        visible: Bool[Tensor, "texts length"],
        *,
        image_kv: AnyImageKV | None = None,
        image_of_text: Int[Tensor, " texts"] | None = None,
    ) -> Float[Tensor, "texts width"]:
        """`forward` in bidirectional mode for the first state of each text only.

        `image_of_text` says which image each text is about, in any order. The last layer skips all
        other tokens. With `visible` on the CPU, nothing waits for a GPU.
        """
        one = pack_pass(
            ids,
            visible,
            "bidirectional",
            _num_images(image_kv),
            image_of_text=image_of_text,
            first_states_only=True,
        )
        transformer = self.for_inference("bidirectional", grounded=image_kv is not None)
        (states,) = transformer.forward_packed(image_kv, one)
        return states

    def forward_packed(
        self, image_kv: AnyImageKV | None, *passes: PackedPass
    ) -> tuple[Float[Tensor, "states width"], ...]:
        """States of each pass: of all tokens, or of first tokens if `first_states_only`.

        All passes attend to the same images. Passes of both modes can run together if these share
        all but self-attention.
        """
        batch = join_passes(*passes)
        hidden = _concatenate(
            [
                self.embedding.select(one.mode).embed_packed(one.ids, one.texts)
                for one in batch.passes
            ]
        )
        end = len(self.layers) - 1
        with attention_of_varying_shapes(hidden):
            for index, layer in enumerate(self.layers):
                layer_kv = None if image_kv is None else image_kv.layer(index)
                hidden = layer(hidden, batch, layer_kv, last=index == end)
        return batch.split(hidden, last=True)

    def continue_text(
        self,
        ids: Int[Tensor, "rows new"],
        cache: KVCache | StaticKVCache,
        image_kv: AnyImageKV | None,
    ) -> Float[Tensor, "rows new width"]:
        """States of new tokens after those in `cache`, causally; appends them to the cache.

        A `StaticKVCache` takes one token of each row, whose position the model must have.
        """
        embedding = self.embedding.select("causal")
        if isinstance(cache, StaticKVCache):
            cache.begin_step()
            hidden = embedding.embed_at(ids, cache.position)
        else:
            hidden = embedding(ids, cache.length)
        with attention_of_varying_shapes(hidden):
            for index, layer in enumerate(self.text_layers()):
                attention = layer.self_attention.select("causal")
                hidden = attention.continue_text(hidden, cache, index)
                layer_kv = None if image_kv is None else image_kv.layer(index)
                hidden = layer.after_self_attention(hidden, "causal", layer_kv)
        return hidden

    def empty_cache(self) -> KVCache:
        """An empty cache for `continue_text`."""
        return KVCache(len(self.layers))

    def static_cache(self, rows: int, room: int) -> StaticKVCache:
        """An empty cache of fixed size for `continue_text`."""
        sizes = self.text_layers()[0].self_attention.select("causal").sizes
        return StaticKVCache(
            layers=len(self.layers),
            rows=rows,
            heads=sizes.heads,
            room=room,
            head_width=sizes.width // sizes.heads,
            like=self.embedding.select("causal").words.weight,
        )

    def static_image_kv(self, images: int, tokens: int) -> ImageKV:
        """Memory for keys and values of so many images, all of whose tokens may be seen."""
        sizes = self.text_layers()[0].self_attention.select("causal").sizes
        shape = (images, sizes.heads, tokens, sizes.width // sizes.heads)
        weight = self.embedding.select("causal").words.weight
        keys, values = (
            tuple(weight.new_zeros(shape) for _ in self.text_layers()) for _ in range(2)
        )
        return ImageKV(keys, values)

    def text_layers(self) -> list[TextLayer]:
        """The layers, from the first on."""
        return cast(list[TextLayer], list(self.layers))


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _num_images(image_kv: AnyImageKV | None) -> int | None:
    return None if image_kv is None else len(image_kv)
