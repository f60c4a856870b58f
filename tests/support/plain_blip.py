"""BLIP once more, from the paper and as plainly as can be: what the model is compared with.

Functions of a dictionary of tensors, which has the names of the original release. One image and one
text at a time: no batch, no padding, no cache, nothing computed once for several texts, no module
of torch. Shapes: images `(3, height, width)`, states `(tokens, width)`, ids a list.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
HEADS = 2
"""Of both transformers, in all models that `plain_weights` makes."""
VISION_EPS, TEXT_EPS = 1e-6, 1e-12
HEAD = "text_decoder.cls.predictions"
FIRST_MERGED_LAYER = 6
SMOOTHING, ALPHA = 0.1, 0.4


def linear(weights: Weights, name: str, states: Tensor) -> Tensor:
    return states @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(weights: Weights, name: str, states: Tensor, eps: float) -> Tensor:
    centred = states - states.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    scaled = centred / (variance + eps) ** 0.5
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(states: Tensor) -> Tensor:
    return states * (1 + torch.erf(states / math.sqrt(2))) / 2


def attend(queries: Tensor, keys: Tensor, values: Tensor, *, causal: bool = False) -> Tensor:
    """Each head by itself; with `causal`, a token sees itself and those before it."""
    heads = []
    for query, key, value in zip(
        *(states.chunk(HEADS, dim=-1) for states in (queries, keys, values)), strict=True
    ):
        scores = query @ key.T / math.sqrt(query.shape[-1])
        if causal:
            later = torch.ones_like(scores).triu(diagonal=1) > 0
            scores = scores.masked_fill(later, -math.inf)
        heads.append(scores.softmax(dim=-1) @ value)
    return torch.cat(heads, dim=-1)


def encode_image(weights: Weights, image: Tensor, stack: str = "visual_encoder") -> Tensor:
    """A ViT with norms before its layers; the class token comes first."""
    kernel = weights[f"{stack}.patch_embed.proj.weight"]
    side = kernel.shape[-1]
    patches = [
        kernel.flatten(1) @ image[:, top : top + side, left : left + side].flatten()
        for top in range(0, image.shape[1], side)
        for left in range(0, image.shape[2], side)
    ]
    embedded = torch.stack(patches) + weights[f"{stack}.patch_embed.proj.bias"]
    states = torch.cat([weights[f"{stack}.cls_token"][0], embedded])
    states = states + weights[f"{stack}.pos_embed"][0]
    for layer in range(depth_of(weights, f"{stack}.blocks.")):
        name = f"{stack}.blocks.{layer}"
        read = norm(weights, f"{name}.norm1", states, VISION_EPS)
        mixed = attend(*linear(weights, f"{name}.attn.qkv", read).chunk(3, dim=-1))
        states = states + linear(weights, f"{name}.attn.proj", mixed)
        read = norm(weights, f"{name}.norm2", states, VISION_EPS)
        wide = gelu(linear(weights, f"{name}.mlp.fc1", read))
        states = states + linear(weights, f"{name}.mlp.fc2", wide)
    return norm(weights, f"{stack}.norm", states, VISION_EPS)


def read_text(
    weights: Weights, stack: str, ids: Sequence[int], *seen: Tensor, causal: bool = False
) -> Tensor:
    """BERT with norms after its layers; `seen` are the states of no, one or two images."""
    words = weights[f"{stack}.embeddings.word_embeddings.weight"][list(ids)]
    states = words + weights[f"{stack}.embeddings.position_embeddings.weight"][: len(ids)]
    states = norm(weights, f"{stack}.embeddings.LayerNorm", states, TEXT_EPS)
    for layer in range(depth_of(weights, f"{stack}.encoder.layer.")):
        name = f"{stack}.encoder.layer.{layer}"
        parts = project(weights, f"{name}.attention.self", states, states)
        mixed = linear(weights, f"{name}.attention.output.dense", attend(*parts, causal=causal))
        states = norm(weights, f"{name}.attention.output.LayerNorm", states + mixed, TEXT_EPS)
        if seen:
            mixed = look_at(weights, name, states, seen, merged=layer >= FIRST_MERGED_LAYER)
            states = norm(
                weights, f"{name}.crossattention.output.LayerNorm", states + mixed, TEXT_EPS
            )
        wide = gelu(linear(weights, f"{name}.intermediate.dense", states))
        mixed = linear(weights, f"{name}.output.dense", wide)
        states = norm(weights, f"{name}.output.LayerNorm", states + mixed, TEXT_EPS)
    return states


def look_at(
    weights: Weights, name: str, states: Tensor, seen: Sequence[Tensor], *, merged: bool
) -> Tensor:
    """Cross-attention to one image, or to each of two: averaged, later joined by a layer."""
    outputs = []
    for number, image in enumerate(seen):
        which = number if len(seen) > 1 else ""
        parts = project(weights, f"{name}.crossattention.self{which}", states, image)
        dense = f"{name}.crossattention.output.dense{which}"
        outputs.append(linear(weights, dense, attend(*parts)))
    if len(seen) > 1 and merged:
        joined = torch.cat(outputs, dim=-1)
        return linear(weights, f"{name}.crossattention.output.merge_layer", joined)
    return sum(outputs[1:], outputs[0]) / len(seen)


def project(weights: Weights, name: str, queries: Tensor, keys: Tensor) -> list[Tensor]:
    return [
        linear(weights, f"{name}.query", queries),
        linear(weights, f"{name}.key", keys),
        linear(weights, f"{name}.value", keys),
    ]


def depth_of(weights: Weights, start: str) -> int:
    layers = {n.removeprefix(start).partition(".")[0] for n in weights if n.startswith(start)}
    return len(layers)


def next_token_logits(weights: Weights, ids: Sequence[int], seen: Tensor) -> Tensor:
    """Of the token behind each one, `(tokens, vocabulary)`; `seen` is an image or a question."""
    states = read_text(weights, "text_decoder.bert", ids, seen, causal=True)
    states = gelu(linear(weights, f"{HEAD}.transform.dense", states))
    states = norm(weights, f"{HEAD}.transform.LayerNorm", states, TEXT_EPS)
    words = weights["text_decoder.bert.embeddings.word_embeddings.weight"]
    return states @ words.T + weights[f"{HEAD}.bias"]


def unit(weights: Weights, name: str, states: Tensor) -> Tensor:
    """The feature of an image or a text: its first state, projected, of length 1."""
    feature = linear(weights, name, states[0])
    return feature / feature.norm()


def match_logits(weights: Weights, ids: Sequence[int], image: Tensor) -> Tensor:
    return linear(weights, "itm_head", read_text(weights, "text_encoder", ids, image)[0])


def truth_logits(weights: Weights, ids: Sequence[int], left: Tensor, right: Tensor) -> Tensor:
    first = read_text(weights, "text_encoder", ids, left, right)[0]
    return linear(weights, "cls_head.2", linear(weights, "cls_head.0", first).clamp(min=0))


def itc_loss(
    weights: Weights, images: Sequence[Tensor], texts: Sequence[Sequence[int]], alpha: float
) -> Tensor:
    """Of pairs: the candidates are the momentum features of the batch, then the queue."""
    visual, textual = [], []
    targets_of_images, targets_of_texts = [], []
    momentum_images = [
        unit(weights, "vision_proj_m", encode_image(weights, image, "visual_encoder_m"))
        for image in images
    ]
    momentum_texts = [
        unit(weights, "text_proj_m", read_text(weights, "text_encoder_m", ids)) for ids in texts
    ]
    all_images = torch.cat([torch.stack(momentum_images), weights["image_queue"].T]).detach()
    all_texts = torch.cat([torch.stack(momentum_texts), weights["text_queue"].T]).detach()
    temperature = weights["temp"]
    for own, (image, ids) in enumerate(zip(images, texts, strict=True)):
        feature = unit(weights, "vision_proj", encode_image(weights, image))
        visual.append(all_texts @ feature / temperature)
        feature = unit(weights, "text_proj", read_text(weights, "text_encoder", ids))
        textual.append(all_images @ feature / temperature)
        hard = torch.zeros(len(all_images), dtype=all_images.dtype)
        hard[own] = 1
        for soft, targets in (
            (all_texts @ momentum_images[own] / temperature, targets_of_images),
            (all_images @ momentum_texts[own] / temperature, targets_of_texts),
        ):
            targets.append((alpha * soft.softmax(dim=0) + (1 - alpha) * hard).detach())
    losses = [
        -(scores.log_softmax(dim=0) * target).sum()
        for scores, target in zip(
            visual + textual, targets_of_images + targets_of_texts, strict=True
        )
    ]
    return torch.stack(losses).sum() / len(losses)


def itm_loss(
    weights: Weights,
    images: Sequence[Tensor],
    texts: Sequence[Sequence[int]],
    negatives: tuple[Sequence[int], Sequence[int]],
) -> Tensor:
    """`negatives`: the image drawn for each text, and the text drawn for each image."""
    own = range(len(images))
    pairs = [(n, n, 1) for n in own]
    pairs += [(image, text, 0) for text, image in enumerate(negatives[0])]
    pairs += [(image, text, 0) for image, text in enumerate(negatives[1])]
    losses = [
        -match_logits(weights, texts[text], encode_image(weights, images[image])).log_softmax(0)[c]
        for image, text, c in pairs
    ]
    return torch.stack(losses).mean()


def lm_loss(
    weights: Weights,
    images: Sequence[Tensor],
    texts: Sequence[Sequence[int]],
    prompt_tokens: int = 0,
) -> Tensor:
    """Over all tokens of all texts but those of the prompt."""
    losses = []
    for image, ids in zip(images, texts, strict=True):
        logits = next_token_logits(weights, ids[:-1], encode_image(weights, image))
        for place in range(prompt_tokens, len(ids) - 1):
            log_probabilities = logits[place].log_softmax(dim=0)
            right = -log_probabilities[ids[place + 1]]
            losses.append((1 - SMOOTHING) * right - SMOOTHING * log_probabilities.mean())
    return torch.stack(losses).mean()


def decode(
    weights: Weights,
    seen: Tensor,
    start: list[int],
    eos: int,
    *,
    beams: int,
    lengths: tuple[int, int],
) -> list[int]:
    """The best text by beam search (greedy with one beam), scored by its mean log-probability."""
    least, most = lengths
    running, ended = [(0.0, start)], list[tuple[float, list[int]]]()
    while True:
        longer = []
        for total, ids in running:
            logits = next_token_logits(weights, ids, seen)[-1]
            chances = logits.log_softmax(dim=0)
            if len(ids) < least:
                chances[eos] = -math.inf
            longer += [(total + chance, [*ids, t]) for t, chance in enumerate(chances.tolist())]
        longer.sort(key=lambda hypothesis: -hypothesis[0])
        new = len(longer[0][1]) - len(start)
        ended += [(s / new, i[:-1]) for s, i in longer[:beams] if i[-1] == eos and s > -math.inf]
        running = [(s, ids) for s, ids in longer if ids[-1] != eos][:beams]
        if new + len(start) == most:
            ended += [(total / new, ids) for total, ids in running]
        ended = sorted(ended, key=lambda text: -text[0])[:beams]
        full = len(ended) == beams and ended[-1][0] >= running[0][0] / new
        # With one beam the best token decides, even where another would have scored more.
        if full or new + len(start) == most or (beams == 1 and ended):
            return ended[0][1][len(start) :]
