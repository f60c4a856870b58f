"""The job of CapFilt as one would put it together from transformers."""

from pathlib import Path

import torch
from peer import LONGEST_TEXT, PeerCaptioner, PeerMatcher
from torch import Tensor

from blip.data.images import decode_image
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.transforms import eval_transform
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import load_model


class Peer:
    """Captioner and filter of transformers with our weights, and two loops over shards."""

    def __init__(
        self, places: dict[str, str], dtype: torch.dtype, decoding: DecodingConfig, batch_size: int
    ) -> None:
        """`places` are the checkpoints of "captioner" and "filter"."""
        captioner, matcher = (load_model(places[name]) for name in ("captioner", "filter"))
        self.captioner = PeerCaptioner(captioner.model.to(dtype), captioner.tokenizer)
        self.matcher = PeerMatcher(matcher.model.to(dtype), matcher.tokenizer)
        self.dtype, self.decoding, self.batch_size = dtype, decoding, batch_size
        self.side = captioner.config.vision.image_size

    def warm(self) -> None:
        """An image through both."""
        image = torch.zeros(1, 3, self.side, self.side, dtype=self.dtype)
        self.matcher.by_states(image[0], self.captioner.caption(image, self.decoding))

    @torch.inference_mode()
    def simple_loop(self, shards: list[Path]) -> int:
        """How many texts were scored: image after image, pair after pair."""
        scored = 0
        tokenizer, matcher = self.matcher.tokenizer, self.matcher.peer
        for shard in shards:
            for sample in read_shard(shard):
                image = self._pixels(sample)[None]
                [written] = self.captioner.caption(image, self.decoding)
                for text in (sample.texts[0], written):
                    encoded = tokenizer.encode([text], LONGEST_TEXT)
                    found = matcher(
                        input_ids=encoded.start_with(tokenizer.enc_id).ids,
                        pixel_values=image,
                        attention_mask=encoded.visible.long(),
                    )
                    scored += len(found.itm_score.softmax(dim=1)[:, 1].tolist())
        return scored

    def careful_loop(self, shards: list[Path]) -> int:
        """The same in batches, with one encoding of an image for the filter."""
        scored = 0
        for shard in shards:
            samples = list(read_shard(shard))
            for start in range(0, len(samples), self.batch_size):
                batch = samples[start : start + self.batch_size]
                images = torch.stack([self._pixels(sample) for sample in batch])
                written = self.captioner.caption(images, self.decoding)
                texts = [
                    text
                    for sample, new in zip(batch, written, strict=True)
                    for text in (sample.texts[0], new)
                ]
                states = self.matcher.encode(images).repeat_interleave(2, dim=0)
                scored += len(self.matcher.match_probabilities(states, texts))
        return scored

    def _pixels(self, sample: Sample) -> Tensor:
        return eval_transform(decode_image(sample.image or b""), self.side).to(self.dtype)
