"""Contrast and matching together: what pre-training, filter and retrieval have in common."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.data.loader import Batch
from blip.model.blip import SHARED_PARTS, Blip
from blip.model.config import ModelConfig
from blip.model.parts import make_text, make_vision
from blip.nn.memory import ImageMemory
from blip.objectives.config import ContrastiveConfig
from blip.objectives.contrastive import (
    Candidates,
    Similarities,
    contrastive_loss,
    image_matches,
    pair_matches,
    similarities,
    soft_targets,
)
from blip.objectives.matching import DrawNegatives, Negatives, matching_loss
from blip.objectives.momentum import Follower
from blip.objectives.queue import FeatureQueue
from blip.tasks.grouping import in_length_groups

if TYPE_CHECKING:
    from PIL.Image import Image

    from blip.tasks.validation import Validation


class UnimodalEncoders(nn.Module):
    """Image and text encoder with their projections: what the momentum copies consist of.

    Parameters have the names that they have in `Blip`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vision = make_vision(config)
        self.text = make_text(
            config, None, shared=SHARED_PARTS[config.sharing], modes=("bidirectional",)
        )
        self.image_projection = nn.Linear(config.vision.width, config.projection)
        self.text_projection = nn.Linear(config.text.width, config.projection)

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width_pixels"],
        ids: Int[Tensor, "batch length"],
        visible: Bool[Tensor, "batch length"],
    ) -> tuple[Float[Tensor, "batch projection"], Float[Tensor, "batch projection"]]:
        """Unit features of images and of texts."""
        image = self.image_projection(self.vision(images)[:, 0])
        text = self.text_projection(self.text.first_states(ids, visible))
        return nn.functional.normalize(image, dim=-1), nn.functional.normalize(text, dim=-1)


class Context(NamedTuple):
    """What a step needs beside its batch; computed without a gradient."""

    candidates: Candidates
    targets: Similarities
    """Soft targets: rows sum to 1."""
    image_features: Float[Tensor, "batch projection"]
    text_features: Float[Tensor, "batch projection"]
    image_ids: Int[Tensor, " batch"]


class Contrast:
    """The state of the contrastive loss: momentum encoders and queue, moved by verbs alone."""

    def __init__(self, model: Blip, config: ContrastiveConfig) -> None:
        device = model.device
        self.model = model
        self.config = config
        self.follower = Follower(UnimodalEncoders(model.config).to(device), model)
        self.queue = FeatureQueue(config.queue_size, model.config.projection, device)

    @torch.no_grad()
    def context(self, batch: Batch, epoch: float) -> Context:
        """Momentum features, candidates and soft targets of a batch; `epoch` counts from 0.0."""
        images, texts = self.follower.module(batch.images, batch.texts.ids, batch.texts.visible)
        queue = self.queue.contents()
        # Features under autocast may be half precision; the queue keeps float32.
        images, texts = images.float(), texts.float()
        candidate_ids = torch.cat([batch.image_ids, queue.image_ids])
        matches = (
            pair_matches(len(images), len(candidate_ids)).to(images.device)
            if self.config.positives == "pair"
            else image_matches(batch.image_ids, candidate_ids)
        )
        candidates = Candidates(
            torch.cat([images, queue.images]), torch.cat([texts, queue.texts]), matches
        )
        momentum = similarities(images, texts, candidates, self.model.temperature)
        alpha = self.alpha(epoch)
        targets = Similarities(*(soft_targets(one_way, matches, alpha) for one_way in momentum))
        return Context(candidates, targets, images, texts, batch.image_ids)

    def alpha(self, epoch: float) -> float:
        """Weight of the soft targets after `epoch` epochs: a linear ramp."""
        ramp = 1.0 if self.config.alpha_epochs == 0 else min(1.0, epoch / self.config.alpha_epochs)
        return self.config.alpha * ramp

    def after_update(self, context: Context) -> None:
        """Momentum encoders follow, the queue takes the batch, the temperature stays in range."""
        self.model.clamp_temperature()
        self.queue.push(context.image_features, context.text_features, context.image_ids)
        self.follower.follow(self.config.momentum)

    def state_dict(self) -> dict[str, object]:
        """Momentum weights and queue, for a checkpoint."""
        return {"momentum": self.follower.module.state_dict(), "queue": self.queue.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`."""
        self.follower.module.load_state_dict(state["momentum"])
        self.queue.load_state_dict(state["queue"])


class ContrastTask:
    """What the training loop needs to know of a step whose only state is that of the contrast."""

    def __init__(
        self, step: nn.Module, contrast: Contrast, validation: "Validation | None" = None
    ) -> None:
        self.step = step
        self.contrast = contrast
        self.validation = validation

    def context(self, batch: Batch, epoch: float) -> Context:
        """Momentum features and soft targets."""
        return self.contrast.context(batch, epoch)

    def after_update(self, context: Context) -> None:
        """Let the momentum encoders, the queue and the temperature follow the update."""
        self.contrast.after_update(context)

    def evaluate(self) -> Mapping[str, float]:
        """Recalls on held-out pairs, where there are some."""
        return {} if self.validation is None else self.validation.recalls()

    def samples(self) -> "Image | None":
        """A sheet of held-out images with the captions that the model writes now."""
        return None if self.validation is None else self.validation.sheet()

    def state_dict(self) -> dict[str, object]:
        """Momentum encoders and queue."""
        return self.contrast.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`."""
        self.contrast.load_state_dict(state)


class Contrasted(NamedTuple):
    """The contrastive loss, and the similarities within the batch that negatives are drawn by."""

    loss: Float[Tensor, ""]
    image_to_text: Float[Tensor, "batch batch"]
    text_to_image: Float[Tensor, "batch batch"]
    matches: Bool[Tensor, "batch batch"]


def contrast(
    model: Blip,
    batch: Batch,
    image_states: Float[Tensor, "batch tokens width"],
    context: Context,
) -> Contrasted:
    """ITC of a batch whose images are encoded already."""
    ids, visible = batch.texts

    def encode(index: Tensor, length: int) -> Tensor:
        return model.text_features(ids[index, :length], visible[index, :length])

    online = similarities(
        model.image_features(image_states).float(),
        in_length_groups(visible, encode).float(),
        context.candidates,
        model.temperature,
    )
    here = slice(0, len(batch.images))
    return Contrasted(
        contrastive_loss(online, context.targets),
        online.image_to_text[:, here],
        online.text_to_image[:, here],
        context.candidates.matches[:, here],
    )


class Matched(NamedTuple):
    """The matching loss, and the share of pairs that were judged rightly."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


def match(
    model: Blip, batch: Batch, memory: ImageMemory, negatives: Negatives, enc_id: int
) -> Matched:
    """ITM of each pair, of each text with a hard-negative image, of each image with such a text.

    All three in one pass; `memory` is indexed for the negatives, not computed again.
    """
    size = len(batch.images)
    own = torch.arange(size, device=negatives.images.device)
    image_of_pair = torch.cat([own, negatives.images, own])
    text_of_pair = torch.cat([own, own, negatives.texts])
    texts = batch.texts.start_with(enc_id)
    ids, visible = texts.ids[text_of_pair], texts.visible[text_of_pair]

    def judge(index: Tensor, length: int) -> Tensor:
        chosen = memory.select(image_of_pair[index])
        return model.match_logits(ids[index, :length], visible[index, :length], chosen)

    logits = in_length_groups(visible, judge).float()
    matching = torch.arange(3 * size, device=logits.device) < size
    accuracy = (logits.detach().argmax(dim=1) == matching).float().mean()
    return Matched(matching_loss(logits, matching), accuracy)


def contrast_and_match(
    model: Blip,
    batch: Batch,
    states: Float[Tensor, "batch tokens width"],
    memory: ImageMemory,
    context: Context,
    *,
    enc_id: int,
    draw: DrawNegatives,
) -> tuple[Contrasted, Matched]:
    """ITC, then ITM with negatives drawn by its similarities."""
    contrasted = contrast(model, batch, states, context)
    negatives = draw(contrasted.image_to_text, contrasted.text_to_image, contrasted.matches)
    return contrasted, match(model, batch, memory, negatives, enc_id)
