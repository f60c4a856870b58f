"""Writes a tiny checkpoint of every kind and its outputs, for later versions to be compared with.

    python -m tests.support.checkpoint_formats FOLDER KIND ...

Weights, words and pictures come from this file alone. A folder that an earlier version wrote is
kept as it is; a new one is made where the format number grows.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from blip import load
from blip.data.tokenizer import Tokenizer
from blip.inference.answerer import Answerer
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import fingerprint, save_model
from blip.inference.matcher import Matcher
from blip.inference.pixels import to_pixels
from blip.model.blip import Blip
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.model.make import make_model
from blip.model.pair import PairModel
from blip.model.question import QuestionModel

KINDS = ("med", "nlvr", "vqa")
TEXTS = ("a red square", "two blue stars on a green field", "one circle")
SIZES = ModelConfig(
    vision=VisionConfig(image_size=16, patch_size=8, width=8, depth=1, heads=2),
    text=TextConfig(width=8, depth=2, heads=2, mlp_width=16, positions=24),
    projection=4,
)


def sizes_of(kind: str, tokenizer: Tokenizer) -> ModelConfig:
    """The smallest model of a kind that has every part."""
    depth = 7 if kind == "nlvr" else SIZES.text.depth  # from layer 6 on a merge layer
    text = replace(SIZES.text, vocabulary_size=tokenizer.vocabulary_size, depth=depth)
    modes = ("bidirectional",) if kind == "nlvr" else SIZES.modes
    return replace(SIZES, text=text, architecture=kind, modes=modes)


def write_checkpoints(folder: Path, kinds: Sequence[str] = KINDS) -> None:
    """Write `folder/KIND/`, and its outputs as `folder/KIND.json`, for these kinds of model."""
    tokenizer = Tokenizer.train(list(TEXTS) * 3, vocabulary_size=60)
    for kind in kinds:
        torch.manual_seed(0)
        model = make_model(sizes_of(kind, tokenizer))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.4)
        (folder / kind).mkdir(parents=True)
        save_model(model, tokenizer, folder / kind)
        text = json.dumps(outputs(folder / kind), indent=1)
        (folder / f"{kind}.json").write_text(text + "\n", encoding="utf-8")


def outputs(checkpoint: Path) -> dict[str, Any]:
    """The fingerprint of a checkpoint, and what its model says about two pictures."""
    loaded, images = load(checkpoint), [picture(0), picture(1)]
    found: dict[str, Any] = {"fingerprint": fingerprint(checkpoint)}
    match loaded.model:
        case Blip() as model:
            scores = Matcher(model, loaded.tokenizer).scores(images, [TEXTS] * 2)
            captions = Captioner(model, loaded.tokenizer).scored_captions(images, 2)
            found["matches"] = [[list(pair) for pair in row] for row in scores]
            found["captions"] = [[list(caption) for caption in row] for row in captions]
        case QuestionModel() as model:
            answers = Answerer(model, loaded.tokenizer).rank_several(images, [TEXTS] * 2, TEXTS, 3)
            found["answers"] = [[[list(a) for a in best] for best in row] for row in answers]
        case PairModel() as model:
            found["truth"] = truth_logits(model, loaded.tokenizer, images)
    return found


@torch.inference_mode()
def truth_logits(
    model: PairModel, tokenizer: Tokenizer, images: list[Image.Image]
) -> list[list[float]]:
    """Logits of each text about the two pictures as a pair."""
    states = model.encode_image(to_pixels(images, 16, model.device, model.dtype))
    texts = tokenizer.encode(list(TEXTS), 24).start_with(tokenizer.enc_id)
    image_kv = model.project_pairs(states[:1], states[1:])
    return model.truth_logits(texts.ids, texts.visible, image_kv).tolist()


def picture(seed: int) -> Image.Image:
    """A pattern of 16 x 16 pixels that is the same everywhere."""
    row, column, colour = np.indices((16, 16, 3))
    pattern = (row * (7 + 4 * seed) + column * 13 + colour * (29 + 6 * seed)) % 256
    return Image.fromarray(pattern.astype(np.uint8))


if __name__ == "__main__":
    write_checkpoints(Path(sys.argv[1]), sys.argv[2:])
