"""Which patches of a picture the words of a text attend to, by cross-attention."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from tokenizers import Encoding
from torch import Tensor

from blip.data.captions import clean_caption
from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError
from blip.inference.base import MAX_TOKENS
from blip.inference.inputs import check_texts
from blip.inference.pixels import Picture, to_pixels
from blip.model.blip import Blip
from blip.nn.bert import TextTransformer
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.nn.packing import join_passes, pack_with_padding


class WordMap(NamedTuple):
    """A word of a text, and the patches that it looks at."""

    word: str
    weights: Float32[np.ndarray, "rows columns"]
    """The share of each patch, from the top left one on; together 1."""


@torch.inference_mode()
def attention_of_words(
    model: Blip, tokenizer: Tokenizer, image: Picture, text: str
) -> list[WordMap]:
    """Where the decoder looks as it writes each word of a text; without one, the grounded encoder.

    The text is cleaned as in training and cut to 35 tokens. The map of a word is the mean over
    layers, heads and the pieces of the word; what goes to the class token is left out. It shows
    where states come from, not why the model chose the word. Raises ArgumentError (a ValueError)
    for a text without words, BadImageError for a picture that cannot be used.
    """
    check_texts("text", [text])
    cleaned = clean_caption(text)
    encoding = tokenizer.backend.encode(cleaned, add_special_tokens=False)
    if not encoding.ids:
        raise ArgumentError(f"text is {text!r}; it has no words")
    ids = encoding.ids[: min(MAX_TOKENS, model.config.text.positions) - 2]
    vision = model.config.vision
    pixels = to_pixels([image], vision.image_size, model.device, model.dtype)
    states = model.encode_image(pixels)
    if "causal" in model.config.modes:
        # The state before a token decides which token follows.
        mode, read, first = "causal", [tokenizer.dec_id, *ids[:-1]], 0
    else:
        mode, read, first = "bidirectional", [tokenizer.enc_id, *ids, tokenizer.sep_id], 1
    token_ids = torch.tensor([read], device=model.device)
    weights = cross_attention_weights(
        model.text, token_ids, mode, model.project_image(states, mode)
    )
    of_tokens = weights.float().mean(dim=(0, 1))[first : first + len(ids), 1:].cpu().numpy()
    side = vision.image_size // vision.patch_size
    maps = list[WordMap]()
    for word, places in _words(cleaned, encoding, len(ids)):
        mean = of_tokens[places].mean(axis=0)
        maps.append(WordMap(word, (mean / mean.sum()).reshape(side, side)))
    return maps


def cross_attention_weights(
    transformer: TextTransformer, ids: Int[Tensor, "1 length"], mode: Mode, image_kv: ImageKV
) -> Float[Tensor, "layers heads length tokens"]:
    """How much of its attention each token of a text gives to each token of its image."""
    padded = pack_with_padding(ids, torch.ones_like(ids, dtype=torch.bool), mode, 1)
    batch = join_passes(padded)
    (one,), (mask,) = batch.passes, batch.masks
    hidden = transformer.embedding.select(mode).embed_packed(one.ids, one.texts)
    weights: list[Tensor] = []
    for index, layer in enumerate(transformer.text_layers()):
        attention, layer_kv = layer.self_attention.select(mode), image_kv.layer(index)
        hidden = attention(hidden, one.texts.rows, mask, causal=one.causal)
        (read,) = layer.cross(mode).attentions
        weights.append(read.weights(hidden, layer_kv.key[0]))
        hidden = layer.after_self_attention(hidden, mode, layer_kv, batch.queries)
    return torch.stack(weights)


def _words(text: str, encoding: Encoding, tokens: int) -> list[tuple[str, list[int]]]:
    """The words of a text, each with the places of its pieces."""
    places: dict[int, list[int]] = {}
    for place, word in enumerate(encoding.word_ids[:tokens]):
        if word is not None:
            places.setdefault(word, []).append(place)
    offsets = encoding.offsets
    return [(text[offsets[of[0]][0] : offsets[of[-1]][1]], of) for of in places.values()]
