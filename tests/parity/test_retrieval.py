"""Retrieval fine-tuning against the original: texts of one image are all its matches."""

import torch

from blip.data.examples.pairs import PairBatch
from blip.model.blip import Blip
from blip.model.checkpoint.original import from_original, momentum_layout
from blip.objectives.config import ContrastiveConfig
from blip.objectives.itc import MomentumContrast
from blip.objectives.itm import Negatives
from blip.tasks.retrieval import RetrievalStep
from tests.support.vectors import (
    CLOSE,
    needs_vectors,
    texts,
    tiny_model,
    tokenizer,
    vectors,
    weights,
)

pytestmark = needs_vectors

ALPHA = 0.3
NOBODY = -100
"""The original's image identity of a place in the queue that no pair has taken."""


def test_losses_with_image_identities_and_the_queue_of_identities() -> None:
    golden, words, state = vectors("retrieval"), tokenizer(), weights("retrieval")
    model = tiny_model("retrieval", Blip)
    size = state["image_queue"].shape[1]
    config = ContrastiveConfig(queue_size=size, positives="image")
    contrast = MomentumContrast(model, config)
    contrast.momentum_encoder.module.load_state_dict(
        from_original(momentum_layout(model.config), state)
    )
    contrast.queue.load_state_dict(
        {
            "images": state["image_queue"].T,
            "texts": state["text_queue"].T,
            "image_ids": torch.full((size,), NOBODY),
            "next": int(state.get("ptr_queue", torch.zeros(1))),
            "held": size,
        }
    )
    batch = PairBatch(golden["images"], words.encode(texts()["texts"], 35), golden["idx"], ())
    context = contrast.context(batch, ALPHA / config.alpha * config.alpha_epochs)
    injected = Negatives(golden["negative_image"], golden["negative_text"])
    step = RetrievalStep(model, words, sample=lambda *_: injected)
    output = step(batch, context)
    losses = torch.stack([output.contrastive, output.matching])
    torch.testing.assert_close(losses, golden["losses"], **CLOSE)
    contrast.after_update(context)
    assert contrast.queue.image_ids.tolist() == golden["after.idx_queue"][0].tolist()
