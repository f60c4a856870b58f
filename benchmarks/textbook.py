"""A pre-training step as the paper tells it: every pass by itself, padded, nothing used twice.

It shares no line with `blip`, only the names of the weights: a test holds both against each other,
and `pretrain.py` measures what the difference is worth.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, dropout, gelu, layer_norm, linear, normalize

Draw = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`(image to text, text to image similarities) -> (image for each text, text for each image)`."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the shapes of the weights do not tell."""

    patch: int
    vision_heads: int
    text_heads: int
    vision_eps: float
    dropout: float


class Losses(NamedTuple):
    """ITC, ITM and LM."""

    contrastive: Tensor
    matching: Tensor
    language: Tensor


class Model:
    """Image encoder and text transformer over a dictionary of weights."""

    def __init__(self, weights: Mapping[str, Tensor], sizes: Sizes) -> None:
        self.weights, self.sizes = weights, sizes

    def image_states(self, images: Tensor) -> Tensor:
        """`(images, 1 + patches, width)`."""
        w, heads = self.weights, self.sizes.vision_heads
        bias = w["vision.patches.bias"]
        patches = conv2d(images, w["vision.patches.weight"], bias, stride=self.sizes.patch)
        first = w["vision.class_token"].expand(len(images), -1, -1)
        hidden = torch.cat([first, patches.flatten(2).mT], dim=1) + w["vision.positions"]
        for layer in range(self._depth("vision")):
            name = f"vision.layers.{layer}."
            normed = self._norm(name + "attention_norm", hidden, self.sizes.vision_eps)
            query, key, value = self._linear(name + "query_key_value", normed).chunk(3, dim=-1)
            read = attend(query, key, value, heads)
            hidden = hidden + self._linear(name + "attention_output", read)
            normed = self._norm(name + "mlp_norm", hidden, self.sizes.vision_eps)
            inner = gelu(self._linear(name + "mlp_input", normed))
            hidden = hidden + self._linear(name + "mlp_output", inner)
        return self._norm("vision.norm", hidden, self.sizes.vision_eps)

    def text_states(
        self, ids: Tensor, visible: Tensor, mode: str, images: Tensor | None = None
    ) -> Tensor:
        """`(texts, length, width)`; text `i` reads the states `images[i]`, where there are any."""
        length, heads, drop = ids.shape[1], self.sizes.text_heads, self.sizes.dropout
        seen = visible[:, None, None, :]
        if mode == "causal":
            seen = seen & torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        place = self._copy("text.embedding", mode)
        words, positions = (self.weights[f"{place}.{n}.weight"] for n in ("words", "positions"))
        hidden = self._drop(self._norm(f"{place}.norm", words[ids] + positions[:length]))
        for layer in range(self._depth("text")):
            own = self._copy(f"text.layers.{layer}.self_attention", mode)
            query, key, value = self._linear(f"{own}.query_key_value", hidden).chunk(3, dim=-1)
            read = self._linear(f"{own}.output", attend(query, key, value, heads, seen, drop))
            hidden = self._norm(f"{own}.norm", hidden + self._drop(read))
            if images is not None:
                cross = self._copy(f"text.layers.{layer}.cross_attention", mode)
                query = self._linear(f"{cross}.read.query", hidden)
                key, value = self._linear(f"{cross}.read.key_value", images).chunk(2, dim=-1)
                read = attend(query, key, value, heads, drop=drop)
                read = self._linear(f"{cross}.read.output", read)
                hidden = self._norm(f"{cross}.norm", hidden + self._drop(read))
            mlp = self._copy(f"text.layers.{layer}.mlp", mode)
            update = self._linear(f"{mlp}.output", gelu(self._linear(f"{mlp}.input", hidden)))
            hidden = self._norm(f"{mlp}.norm", hidden + self._drop(update))
        return hidden

    def features(self, side: str, states: Tensor) -> Tensor:
        """Unit vectors of the first states; `side` is "image" or "text"."""
        return normalize(self._linear(f"{side}_projection", states[:, 0]), dim=-1)

    def match_logits(self, states: Tensor) -> Tensor:
        """`(texts, 2)` from the states of the grounded encoder."""
        return self._linear("matching_head", states[:, 0])

    def language_logits(self, states: Tensor) -> Tensor:
        """`(texts, length, vocabulary)` from the states of the decoder."""
        hidden = gelu(self._linear("language_head.dense", states))
        hidden = self._norm("language_head.norm", hidden)
        words = self.weights[self._copy("text.embedding", "causal") + ".words.weight"]
        return linear(hidden, words, self.weights["language_head.bias"])

    def _linear(self, name: str, states: Tensor) -> Tensor:
        return linear(states, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, states: Tensor, eps: float = 1e-12) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return layer_norm(states, weight.shape, weight, bias, eps)

    def _drop(self, states: Tensor) -> Tensor:
        return dropout(states, self.sizes.dropout)

    def _depth(self, stack: str) -> int:
        prefix = f"{stack}.layers."
        numbers = (n.removeprefix(prefix) for n in self.weights if n.startswith(prefix))
        return 1 + max(int(number.partition(".")[0]) for number in numbers)

    def _copy(self, part: str, mode: str) -> str:
        """The weights of `part` that serve `mode`: shared ones, or its own."""
        shared = any(name.startswith(f"{part}.copies.both.") for name in self.weights)
        return f"{part}.copies.{'both' if shared else mode}"


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    visible: Tensor | None = None,
    drop: float = 0.0,
) -> Tensor:
    """Multi-head attention of `(rows, length, width)`, softmax and all."""
    rows, length, width = query.shape

    def split(states: Tensor) -> Tensor:
        return states.view(rows, -1, heads, width // heads).transpose(1, 2)

    scores = split(query) @ split(key).mT / math.sqrt(width // heads)
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    read = dropout(scores.softmax(dim=-1), drop) @ split(value)
    return read.transpose(1, 2).reshape(rows, length, width)


class MomentumState:
    """Momentum weights and queues, and the contrastive loss that they serve (ALBEF, 3.2)."""

    def __init__(self, weights: Mapping[str, Tensor], size: int, width: int, like: Tensor) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in weights.items()}
        self.images, self.texts = (like.new_zeros(0, width) for _ in range(2))
        self.size = size

    def contrastive_loss(
        self,
        features: tuple[Tensor, Tensor],
        slow: tuple[Tensor, Tensor],
        temperature: Tensor,
        alpha: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and this batch's similarities, of each image and of each text."""
        scores, loss, own = [], torch.zeros((), device=temperature.device), len(slow[0])
        queues = (torch.cat([slow[1], self.texts]), torch.cat([slow[0], self.images]))
        for mine, my_slow, theirs in zip(features, slow, queues, strict=True):
            hard = torch.eye(own, len(theirs), device=theirs.device, dtype=theirs.dtype)
            with torch.no_grad():
                soft = (my_slow @ theirs.T / temperature).softmax(dim=1)
            scores.append(mine @ theirs.T / temperature)
            targets = alpha * soft + (1.0 - alpha) * hard
            loss = loss - (scores[-1].log_softmax(dim=1) * targets).sum(dim=1).mean() / 2
        return loss, scores[0][:, :own].detach(), scores[1][:, :own].detach()

    @torch.no_grad()
    def update(self, leading: Mapping[str, Tensor], momentum: float) -> None:
        """Move each weight a little towards the one that learns."""
        for name, weight in self.weights.items():
            weight.mul_(momentum).add_(leading[name], alpha=1.0 - momentum)

    def push(self, images: Tensor, texts: Tensor) -> None:
        """Remember the newest features and forget the oldest."""
        self.images = torch.cat([self.images, images])[-self.size :]
        self.texts = torch.cat([self.texts, texts])[-self.size :]


class TextbookStep:
    """Losses of a batch by eight passes: two of images, six of texts (BLIP, figure 2)."""

    SMOOTHING, QUEUE = 0.1, 57_600

    def __init__(
        self, weights: Mapping[str, Tensor], sizes: Sizes, *, enc_id: int, dec_id: int
    ) -> None:
        self.weights = {n: w.detach().clone().requires_grad_() for n, w in weights.items()}
        self.model = Model(self.weights, sizes)
        unimodal = {
            name: weight
            for name, weight in self.weights.items()
            if name.startswith(("vision.", "text.", "image_projection", "text_projection"))
            and ".cross_attention." not in name
            and ".causal." not in name
        }
        width = len(weights["image_projection.bias"])
        self.momentum_state = MomentumState(unimodal, self.QUEUE, width, weights["temperature"])
        still = Sizes(
            sizes.patch, sizes.vision_heads, sizes.text_heads, sizes.vision_eps, dropout=0.0
        )
        self.slow_model = Model(self.momentum_state.weights, still)
        self.enc_id, self.dec_id = enc_id, dec_id
        self.newest: tuple[Tensor, Tensor] | None = None

    def losses(
        self, images: Tensor, ids: Tensor, visible: Tensor, draw: Draw, alpha: float
    ) -> Losses:
        """All three; `ids` start with `[CLS]` and are padded to whatever length."""
        model, slow = self.model, self.slow_model
        states = model.image_states(images)
        image = model.features("image", states)
        text = model.features("text", model.text_states(ids, visible, "bidirectional"))
        with torch.no_grad():
            slow_image = slow.features("image", slow.image_states(images))
            slow_text = slow.features("text", slow.text_states(ids, visible, "bidirectional"))
        self.newest = (slow_image, slow_text)
        contrastive, to_text, to_image = self.momentum_state.contrastive_loss(
            (image, text), self.newest, self.weights["temperature"], alpha
        )
        image_of_text, text_of_image = draw(to_text, to_image)
        encoded = ids.clone()
        encoded[:, 0] = self.enc_id
        positive = self._match(encoded, visible, states)
        other_image = self._match(encoded, visible, states[image_of_text])
        other_text = self._match(encoded[text_of_image], visible[text_of_image], states)
        logits = torch.cat([positive, other_image, other_text])
        matching = cross_entropy(logits, (torch.arange(len(logits)) < len(ids)).long().to(ids))
        return Losses(contrastive, matching, self._language(ids, visible, states))

    def _match(self, ids: Tensor, visible: Tensor, states: Tensor) -> Tensor:
        return self.model.match_logits(
            self.model.text_states(ids, visible, "bidirectional", states)
        )

    def _language(self, ids: Tensor, visible: Tensor, states: Tensor) -> Tensor:
        targets = ids.masked_fill(~visible, -100)[:, 1:]
        ids = ids.clone()
        ids[:, 0] = self.dec_id
        hidden = self.model.text_states(ids, visible, "causal", states)
        logits = self.model.language_logits(hidden)[:, :-1]
        return cross_entropy(
            logits.flatten(0, 1), targets.flatten(), label_smoothing=self.SMOOTHING
        )

    def after_update(self, momentum: float = 0.995) -> None:
        """What follows an update of the weights: momentum encoders, queue, temperature."""
        assert self.newest is not None
        self.momentum_state.update(self.weights, momentum)
        self.momentum_state.push(*self.newest)
        with torch.no_grad():
            self.weights["temperature"].clamp_(0.001, 0.5)
