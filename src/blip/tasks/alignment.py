"""Contrast and matching together: what pre-training, filter and retrieval have in common."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip import dist
from blip.data.loader import Batch
from blip.data.tokenizer import Texts
from blip.model.blip import SHARED_PARTS, Blip
from blip.model.config import ModelConfig
from blip.model.parts import make_text, make_vision
from blip.nn.device import send
from blip.nn.packing import PackedPass, pack_pass
from blip.nn.precision import at_least_float32
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
from blip.tasks.operations import StepOperations

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
        image = self.image_projection(self.vision.first_states(images))
        text = self.text_projection(self.text.first_states(ids, visible))
        # Vectors that are rounded afterwards are not of length 1.
        image, text = at_least_float32(image), at_least_float32(text)
        return nn.functional.normalize(image, dim=-1), nn.functional.normalize(text, dim=-1)


class Context(NamedTuple):
    """What a step needs beside its batch; computed without a gradient.

    `global` counts the rows of all processes.
    """

    candidates: Candidates
    targets: Similarities
    """Soft targets: rows sum to 1."""
    image_features: Float[Tensor, "global projection"]
    text_features: Float[Tensor, "global projection"]
    image_ids: Int[Tensor, " global"]
    noise: Float[Tensor, "2 batch global"]
    """What negatives are drawn by: the same however many processes share the batch."""


class Contrast:
    """The state of the contrastive loss: momentum encoders and queue, moved by verbs alone."""

    def __init__(self, model: Blip, config: ContrastiveConfig) -> None:
        device, dtype = model.device, model.temperature.dtype
        self.model = model
        self.config = config
        self.follower = Follower(UnimodalEncoders(model.config).to(device, dtype), model)
        self.queue = FeatureQueue(config.queue_size, model.config.projection, device, dtype)
        self.seed, self.drawn = torch.initial_seed(), 0

    def to(self, device: torch.device) -> None:
        """Move momentum encoders and queue to where the model goes."""
        self.follower.module.to(device)
        self.queue.to(device)

    @torch.no_grad()
    def context(self, batch: Batch, epoch: float) -> Context:
        """Momentum features, candidates and soft targets of a batch; `epoch` counts from 0.0."""
        images, texts = self.follower.module(batch.images, batch.texts.ids, batch.texts.visible)
        all_images, all_texts = dist.gather_rows(images), dist.gather_rows(texts)
        all_ids = dist.gather_rows(batch.image_ids)
        queue = self.queue.contents()
        candidate_ids = torch.cat([all_ids, queue.image_ids])
        own = dist.own_rows(len(images), images.device)
        matches = (
            pair_matches(own, len(candidate_ids))
            if self.config.positives == "pair"
            else image_matches(batch.image_ids, candidate_ids)
        )
        candidates = Candidates(
            torch.cat([all_images, queue.images]), torch.cat([all_texts, queue.texts]), matches
        )
        momentum = similarities(images, texts, candidates, dist.whole(self.model.temperature))
        alpha = self.alpha(epoch)
        targets = Similarities(*(soft_targets(one_way, matches, alpha) for one_way in momentum))
        noise = self._noise(own, len(all_ids))
        return Context(candidates, targets, all_images, all_texts, all_ids, noise)

    def _noise(self, own: Tensor, rows: int) -> Float[Tensor, "2 batch global"]:
        """This process's rows of what is drawn for the global batch."""
        source = torch.Generator(own.device).manual_seed((self.seed + self.drawn) % 2**63)
        self.drawn += 1
        return torch.empty(2, rows, rows, device=own.device).exponential_(generator=source)[:, own]

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
        """The queue and what was drawn, for a checkpoint; the momentum encoders are modules."""
        return {"queue": self.queue.state_dict(), "drawn": self.drawn}

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`."""
        self.queue.load_state_dict(state["queue"])
        self.drawn = state["drawn"]


class ContrastTask:
    """What the training loop needs to know of a step whose only state is that of the contrast."""

    def __init__(
        self,
        step: nn.Module,
        contrast: Contrast,
        validation: "Validation | None" = None,
        *,
        writes: bool = False,
    ) -> None:
        """`writes`: the step has LM, too, which counts among its operations."""
        self.step = step
        self.contrast = contrast
        self.validation = validation
        self.operations = StepOperations(
            contrast.model.config,
            contrasts=True,
            writes=writes,
            queue_size=contrast.config.queue_size,
        )

    @property
    def followers(self) -> dict[str, nn.Module]:
        """The momentum encoders."""
        return {"momentum": self.contrast.follower.module}

    def to(self, device: torch.device) -> None:
        """Move the step and the state around it."""
        self.step.to(device)
        self.contrast.to(device)

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
        """The queue, and how often was drawn."""
        return self.contrast.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`."""
        self.contrast.load_state_dict(state)


def contrast(
    model: Blip,
    batch: Batch,
    image_states: Float[Tensor, "batch tokens width"],
    context: Context,
    draw: DrawNegatives,
) -> tuple[Float[Tensor, ""], Negatives]:
    """ITC of a batch whose images are encoded already, and negatives drawn by its similarities."""
    online = similarities(
        model.image_features(image_states),
        model.text_features(*batch.texts),
        context.candidates,
        model.temperature,
    )
    here = slice(0, len(context.image_ids))
    negatives = draw(
        online.image_to_text[:, here],
        online.text_to_image[:, here],
        context.candidates.matches[:, here],
        context.noise,
    )
    return contrastive_loss(online, context.targets), negatives


class Matched(NamedTuple):
    """The matching loss, and the share of pairs that were judged rightly."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


def pairs_to_judge(batch: Batch, negatives: Negatives, enc_id: int) -> PackedPass:
    """Each pair, each text with a hard-negative image, each image with such a text, in one pass.

    Images are read in place for the negatives, too. A pair is judged by the process that holds its
    image: texts travel, which are small.
    """
    size = len(batch.images)
    texts = everyones(batch.texts).start_with(enc_id)
    image_of_pair, text_of_pair = pairs_here(size, negatives)
    return pack_pass(
        texts.ids[send(text_of_pair, texts.ids.device)],
        texts.visible[text_of_pair],
        "bidirectional",
        images=size,
        image_of_text=image_of_pair,
        first_states_only=True,
    )


def judge(model: Blip, states: Float[Tensor, "pairs width"], size: int) -> Matched:
    """ITM, of the first states of the pairs that `pairs_to_judge` gave for `size` images."""
    logits = at_least_float32(model.matching_head(states))
    matching = torch.arange(len(logits), device=logits.device) < size
    right = (logits.detach().argmax(dim=1) == matching).sum()
    return Matched(matching_loss(logits, matching, 3 * size), right / (3 * size))


def everyones(texts: Texts) -> Texts:
    """The texts of the global batch, ids and lengths where they are."""
    if dist.world_size() == 1:
        return texts
    # Processes exchange what lies on their devices.
    visible = dist.gather_padded(texts.visible.to(texts.ids.device), fill=False)
    return Texts(dist.gather_padded(texts.ids, fill=0), visible.to(texts.visible.device))


def pairs_here(
    size: int, negatives: Negatives
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Image (of this process) and text (of the global batch) of the pairs judged here, on the CPU.

    The `size` matching pairs come first, then texts for which an image of this process was drawn,
    then the texts that were drawn for its images.
    """
    here, own = torch.arange(size), dist.own_rows(size)
    drawn = dist.gather_rows(negatives.images).cpu()
    others = (drawn % dist.world_size() == dist.rank()).nonzero().squeeze(1)
    images = torch.cat([here, drawn[others] // dist.world_size(), here])
    return images, torch.cat([own, others, negatives.texts.cpu()])
