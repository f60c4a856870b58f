"""Figures of a model that is being trained: recalls and captions of held-out images."""

import math
from dataclasses import replace

from PIL.Image import Image

from blip import dist
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Tokenizer
from blip.evaluation.caption import evaluate_captions, write_captions
from blip.evaluation.config import ValidationConfig
from blip.evaluation.live import evaluation_mode, nan_in_one_line
from blip.evaluation.retrieval import evaluate_retrieval
from blip.evaluation.sheet import SheetRow, draw_sheet
from blip.inference.decoding import start_of_text
from blip.model.blip import Blip


class Validation:
    """Held-out images and a live model; nothing that the training depends on is moved.

    No random number is drawn from the common sources, and the model is left in the mode in which
    it was. Images are read once, when it is made, and broken ones are left out and named; raises
    UsageError if there are no shards and BlipError if nothing in them is sound.
    """

    def __init__(self, model: Blip, tokenizer: Tokenizer, config: ValidationConfig) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        size = model.config.vision.image_size
        if "causal" in model.config.modes:
            # A prompt that leaves no room for a text is said now, not after hours.
            start_of_text(model, tokenizer, config.decoding, "validation.decoding")
        self.data = EvaluationSet(
            config.shards, size, most=config.images, max_pixels=config.max_pixels
        )

    def recalls(self) -> dict[str, float]:
        """`validation_tr1` ... `validation_ir10`, in per cent, as `evaluate_retrieval` has them.

        None of them for a model without a text encoder.
        """
        if "bidirectional" not in self.model.config.modes:
            return {}
        found = {}
        with evaluation_mode(self.model), nan_in_one_line():
            config = self.config.retrieval
            config = replace(config, score=config.score_of("trained"))
            found = evaluate_retrieval(self.model, self.tokenizer, self.data, config)
        return {f"validation_{name}": value for name, value in found.items()}

    def caption_scores(self) -> dict[str, float]:
        """`validation_cider` and the other scores of a caption for each image, times 100.

        Processes share the images, and rank 0 returns the scores; those that are undefined, as
        for a model that writes nothing, are left out.
        """
        texts = dist.gather_lists(self.captions(dist.own_share(len(self.data))))
        if len(texts) < len(self.data):
            return {}
        scores = evaluate_captions(texts, self.data)
        return {f"validation_{name}": x for name, x in scores.items() if math.isfinite(x)}

    def captions(self, places: range) -> list[str]:
        """What the model writes about these images; nothing without a decoder."""
        if "causal" not in self.model.config.modes:
            return []
        batch_size = self.config.batch_size or self.config.retrieval.batch_size
        with evaluation_mode(self.model), nan_in_one_line():
            return write_captions(
                self.model, self.tokenizer, self.data, self.config.decoding, batch_size, places
            )
        return []

    def sheet(self) -> Image | None:
        """The first images with their captions, drawn; None where no samples are configured."""
        captions = self.captions(range(min(self.config.samples, len(self.data))))
        if not captions:
            return None
        return draw_sheet(
            [
                SheetRow(self.data.picture(place), caption, self.data.texts[place][0])
                for place, caption in enumerate(captions)
            ]
        )
