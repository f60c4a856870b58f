"""Hugging Face transformers as the peer: the same weights, its best settings for this model.

It caches keys and values in decoding, those of the image too. `scaled_dot_product_attention` it
refuses for BLIP (transformers 5), so its attention is the eager one.
"""

from typing import Any, Literal

import torch
import transformers
from torch import Tensor

from blip.data.tokenizer import Tokenizer
from blip.generation.config import DecodingConfig
from blip.model.blip import Blip
from blip.model.checkpoint.huggingface import SpecialIds, to_huggingface, write_sizes
from blip.model.checkpoint.original import Kind, names_of

LONGEST_TEXT = 35
"""Most tokens of a text to match; the original's evaluation pads all texts to as many."""

transformers.logging.set_verbosity_error()


def peer_of(kind: Kind, model: Blip, tokenizer: Tokenizer) -> Any:
    """The peer's class for "caption" or "itm" with the weights of `model`, where that is."""
    ids = SpecialIds(dec=tokenizer.dec_id, sep=tokenizer.sep_id, pad=tokenizer.pad_id)
    sizes: dict[str, Any] = dict(write_sizes(kind, model.config, ids))
    name = sizes.pop("architectures")[0]
    peer = getattr(transformers, name)(transformers.BlipConfig(**sizes))
    state = to_huggingface(names_of(kind, model.config), model.state_dict())
    # Both read the same memory.
    found = peer.load_state_dict(state, strict=False, assign=True)
    # Ties have two names there and one here.
    missing = [name for name in found.missing_keys if ".predictions.decoder." not in name]
    if missing or found.unexpected_keys:
        raise ValueError(f"the peer is another model: {missing}, {found.unexpected_keys}")
    peer.tie_weights()
    weight = next(model.parameters())
    return peer.to(weight.device, weight.dtype).eval()


class PeerCaptioner:
    """Captions by the peer's `generate`."""

    def __init__(self, model: Blip, tokenizer: Tokenizer) -> None:
        self.peer = peer_of("caption", model, tokenizer)
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def caption(self, images: Tensor, decoding: DecodingConfig) -> list[str]:
        """A caption for each image."""
        kinds: dict[str, dict[str, Any]] = {
            "greedy": {"do_sample": False, "num_beams": 1},
            "beam": {"do_sample": False, "num_beams": decoding.beams, "early_stopping": False},
            "nucleus": {"do_sample": True, "top_p": decoding.top_p, "top_k": 0},
        }
        ids = self.peer.generate(
            images,
            min_length=decoding.min_length,
            max_length=decoding.max_length,
            repetition_penalty=decoding.repetition_penalty,
            use_cache=True,
            **kinds[decoding.kind],
        )
        return [self.tokenizer.decode(row) for row in ids.tolist()]


class PeerMatcher:
    """Match probabilities of texts and images."""

    def __init__(self, model: Blip, tokenizer: Tokenizer) -> None:
        self.peer = peer_of("itm", model, tokenizer)
        self.tokenizer = tokenizer

    def by_states(self, image: Tensor, texts: list[str]) -> list[float]:
        """Many texts of an image that is encoded once."""
        return self.match_probabilities(self.encode(image[None]), texts)

    def as_original(self, image: Tensor, texts: list[str]) -> list[float]:
        """The same as the original's evaluation does it."""
        return self.match_as_original(self.encode(image[None]), texts)

    @torch.inference_mode()
    def by_pairs(self, images: Tensor, texts: list[str]) -> list[float]:
        """A batch of pairs, as many images as texts; each image is encoded."""
        ids, visible = self._ids(texts, images.device)
        found = self.peer(input_ids=ids, pixel_values=images, attention_mask=visible)
        return found.itm_score.softmax(dim=1)[:, 1].tolist()

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """The states of images, `(images, tokens, width)`."""
        return self.peer.vision_model(images).last_hidden_state

    def match_probabilities(self, states: Tensor, texts: list[str]) -> list[float]:
        """Match probabilities of texts with the states of one image, or of as many images.

        The states of one image are not repeated: torch broadcasts them.
        """
        return self._match(states, *self._ids(texts, states.device))

    def match_as_original(self, states: Tensor, texts: list[str]) -> list[float]:
        """States of one image repeated for each text, and texts padded to `LONGEST_TEXT`."""
        return self._match(
            states.expand(len(texts), -1, -1), *self._ids(texts, states.device, padding="max")
        )

    @torch.inference_mode()
    def _match(self, states: Tensor, ids: Tensor, visible: Tensor) -> list[float]:
        found = self.peer.text_encoder(
            input_ids=ids,
            attention_mask=visible,
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], device=states.device),
        )
        logits = self.peer.itm_head(found.last_hidden_state[:, 0])
        return logits.softmax(dim=1)[:, 1].tolist()

    def _ids(
        self, texts: list[str], device: torch.device, padding: Literal["longest", "max"] = "longest"
    ) -> tuple[Tensor, Tensor]:
        encoded = self.tokenizer.encode(texts, LONGEST_TEXT, padding=padding).to(device)
        return encoded.start_with(self.tokenizer.enc_id).ids, encoded.visible.long()
