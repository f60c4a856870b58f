"""Tiny models with random weights that attend to images and questions, and what one asks them."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from blip.data.tokenizer import Tokenizer
from blip.model.blip import Blip
from blip.model.question import QuestionModel
from tests.support.tiny import TINY, make_model

TEXTS = ["a red circle", "one big green star on grey ground", "blue square", "stripes near one"]
QUESTIONS = [
    ["is it a star?", "which colour is the big circle near one green square?", "stripes?"],
    [],
    ["a circle?"],
    ["what is near the grey ground with blue stripes?", "is it red?"],
]
CANDIDATES = ["red", "blue", "green", "a red circle", "one", "star", "a star", "grey ground"]


def attentive_blip(tokenizer: Tokenizer) -> Blip:
    """Writes different texts about different images; initial weights hardly attend to them."""
    model = make_model(tokenizer)
    for layer in model.text.layers:
        torch.nn.init.normal_(layer.cross_attention.select("causal").read.key_value.weight, std=2.0)
    return model


def attentive_question_model(tokenizer: Tokenizer) -> QuestionModel:
    """Answers different questions about different images differently."""
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    model = QuestionModel(replace(TINY, text=text, architecture="vqa"))
    for layer in model.text.layers:
        for mode in ("bidirectional", "causal"):
            read = layer.cross_attention.select(mode).read
            torch.nn.init.normal_(read.key_value.weight, std=1.5)
    torch.nn.init.normal_(model.text.embedding.select("causal").words.weight, std=0.5)
    return model


def noise_pictures(count: int) -> list[Image.Image]:
    """Images of 40 x 56 random pixels."""
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 255, (40, 56, 3), dtype=np.uint8)) for _ in range(count)
    ]
