"""ITC, the image-text contrastive loss: a pair's features are to be closer than any other pair's.

Features of a batch are compared with those that a momentum encoder gives for the global batch, and
with those of earlier batches in a queue (MoCo, He et al. 2020; ALBEF, section 3.3; BLIP, section
3.2). `MomentumContrast` holds that state and makes the `ITCContext` of a batch from it, without a
gradient; `itc_similarities` and `itc_loss` are the part that learns.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip import dist
from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.model.unimodal import UnimodalEncoders
from blip.objectives.config import ContrastiveConfig


class Candidates(NamedTuple):
    """What images and texts are compared with: this batch's momentum features, then the queue's."""

    images: Float[Tensor, "candidates projection"]
    texts: Float[Tensor, "candidates projection"]
    matches: Bool[Tensor, "batch candidates"]
    """Which candidates belong to each image (and, alike, to each text) of the batch."""


class Similarities(NamedTuple):
    """Cosines over the temperature, of each image with all texts and each text with all images."""

    image_to_text: Float[Tensor, "batch candidates"]
    text_to_image: Float[Tensor, "batch candidates"]


class ITCContext(NamedTuple):
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
    """What ITM's negatives are drawn by: the same however many processes share the batch."""


def itc_similarities(
    model: Blip,
    image_states: Float[Tensor, "batch tokens width"],
    texts: Texts,
    candidates: Candidates,
) -> Similarities:
    """Similarities of a batch, whose images are encoded already, to the candidates."""
    images, encoded = model.image_features(image_states), model.text_features(*texts)
    return similarities(images, encoded, candidates, model.temperature)


def itc_loss(online: Similarities, targets: Similarities) -> Float[Tensor, ""]:
    """Cross-entropy between targets and softmax similarities, both directions averaged."""

    def one_way(scores: Tensor, target: Tensor) -> Tensor:
        return -(scores.log_softmax(dim=1) * target).sum(dim=1).mean()

    return (
        one_way(online.image_to_text, targets.image_to_text)
        + one_way(online.text_to_image, targets.text_to_image)
    ) / 2


def similarities(
    images: Float[Tensor, "batch projection"],
    texts: Float[Tensor, "batch projection"],
    candidates: Candidates,
    temperature: Float[Tensor, " one"],
) -> Similarities:
    """Compare unit features of a batch with the candidates of the other kind."""
    # Autocast would make the products half precision; small temperatures make that a large error.
    with torch.autocast(images.device.type, enabled=False):
        return Similarities(
            images @ candidates.texts.T / temperature, texts @ candidates.images.T / temperature
        )


def soft_targets(
    momentum: Float[Tensor, "batch candidates"],
    matches: Bool[Tensor, "batch candidates"],
    alpha: float,
) -> Float[Tensor, "batch candidates"]:
    """Mix what should match with what the momentum encoders find alike (ALBEF, equation 6).

    `momentum` holds the momentum encoders' similarities (over the temperature). Where a row has
    several matches they share its weight. Rows sum to 1.
    """
    hard = matches / matches.sum(dim=1, keepdim=True)
    return alpha * momentum.softmax(dim=1) + (1.0 - alpha) * hard


def pair_matches(own: Int[Tensor, " batch"], candidates: int) -> Bool[Tensor, "batch candidates"]:
    """Row `i` matches candidate `own[i]` alone."""
    return own[:, None] == torch.arange(candidates, device=own.device)


def image_matches(
    image_ids: Int[Tensor, " batch"], candidate_ids: Int[Tensor, " candidates"]
) -> Bool[Tensor, "batch candidates"]:
    """Row `i` matches every candidate that comes from the same image."""
    return image_ids[:, None] == candidate_ids[None, :]


class MomentumContrast:
    """The state of ITC: momentum encoder and queue, which change in named calls alone."""

    def __init__(self, model: Blip, config: ContrastiveConfig) -> None:
        model.require("bidirectional")
        device, dtype = model.device, model.temperature.dtype
        self.model = model
        self.config = config
        encoders = UnimodalEncoders(model.config).to(device, dtype)
        self.momentum_encoder = MomentumEncoder(encoders, model)
        self.queue = FeatureQueue(config.queue_size, model.config.projection, device, dtype)
        self.seed, self.drawn = torch.initial_seed(), 0

    def to(self, device: torch.device) -> None:
        """Move momentum encoder and queue to where the model goes."""
        self.momentum_encoder.module.to(device)
        self.queue.to(device)

    @torch.no_grad()
    def context(self, batch: PairBatch, epoch: float) -> ITCContext:
        """Momentum features, candidates and soft targets of a batch; `epoch` counts from 0.0."""
        encode = self.momentum_encoder.module
        images, texts = encode(batch.images, batch.texts.ids, batch.texts.visible)
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
        noise = self._draw_noise(own, len(all_ids))
        return ITCContext(candidates, targets, all_images, all_texts, all_ids, noise)

    def _draw_noise(self, own: Tensor, rows: int) -> Float[Tensor, "2 batch global"]:
        """This process's rows of what is drawn for the global batch."""
        source = torch.Generator(own.device).manual_seed((self.seed + self.drawn) % 2**63)
        self.drawn += 1
        return torch.empty(2, rows, rows, device=own.device).exponential_(generator=source)[:, own]

    def alpha(self, epoch: float) -> float:
        """Weight of the soft targets after `epoch` epochs: a linear ramp."""
        ramp = 1.0 if self.config.alpha_epochs == 0 else min(1.0, epoch / self.config.alpha_epochs)
        return self.config.alpha * ramp

    def after_update(self, context: ITCContext) -> None:
        """Update momentum encoder and queue, and clamp the temperature."""
        self.model.clamp_temperature()
        self.queue.push(context.image_features, context.text_features, context.image_ids)
        self.momentum_encoder.update(self.config.momentum)

    def state_dict(self) -> dict[str, object]:
        """Queue and number of draws, for a checkpoint; the momentum encoder is a module."""
        return {"queue": self.queue.state_dict(), "drawn": self.drawn}

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`."""
        self.queue.load_state_dict(state["queue"])
        self.drawn = state["drawn"]


class MomentumEncoder:
    """The exponential moving average of a module, parameter by parameter of the same name.

    Both may be moved or sharded afterwards, alike.
    """

    def __init__(self, module: nn.Module, online: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)
        self.online = online
        unexpected = dict(module.named_parameters()).keys() - dict(online.named_parameters())
        if unexpected:
            raise ValueError(f"the online model has no parameter {sorted(unexpected)[0]}")
        self.copy_online()

    @torch.no_grad()
    def copy_online(self) -> None:
        """Make both equal."""
        for averaged, online in zip(*self._parameters(), strict=True):
            averaged.copy_(online)

    @torch.no_grad()
    def update(self, momentum: float) -> None:
        """Average = momentum * average + (1 - momentum) * online, for every parameter."""
        averaged, online = self._parameters()
        # One fused call for all parameters; torch has no public name for it.
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            averaged, online, 1.0 - momentum
        )

    def _parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """Averages and what they are averages of; of sharded tensors the part of this process."""
        online = dict(self.online.named_parameters())
        own = dict(self.module.named_parameters())
        return [dist.local(own[name]) for name in own], [dist.local(online[name]) for name in own]


class QueueContents(NamedTuple):
    """Features of recent pairs, and of which image each was."""

    images: Float[Tensor, "held projection"]
    texts: Float[Tensor, "held projection"]
    image_ids: Int[Tensor, " held"]


class FeatureQueue:
    """A ring of the last `size` pairs.

    Unlike the original it starts empty, not full of random vectors, and takes batches of any size:
    the last short batch of an epoch simply wraps around.
    """

    def __init__(
        self,
        size: int,
        projection: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.images = torch.zeros(size, projection, device=device, dtype=dtype)
        self.texts = torch.zeros(size, projection, device=device, dtype=dtype)
        self.image_ids = torch.full((size,), -1, dtype=torch.int64, device=device)
        self.next = 0
        self.held = 0

    def to(self, device: torch.device) -> None:
        """Move what is held, and what is to come."""
        self.images = self.images.to(device)
        self.texts = self.texts.to(device)
        self.image_ids = self.image_ids.to(device)

    @property
    def size(self) -> int:
        """Pairs that fit."""
        return len(self.images)

    def contents(self) -> QueueContents:
        """What is held; a view, to be read before the next `push`."""
        held = slice(0, self.held)
        return QueueContents(self.images[held], self.texts[held], self.image_ids[held])

    @torch.no_grad()
    def push(
        self,
        images: Float[Tensor, "batch projection"],
        texts: Float[Tensor, "batch projection"],
        image_ids: Int[Tensor, " batch"],
    ) -> None:
        """Overwrite the oldest pairs with these."""
        if self.size == 0:
            return
        images, texts, image_ids = (
            images[-self.size :],
            texts[-self.size :],
            image_ids[-self.size :],
        )
        places = (torch.arange(len(images), device=self.images.device) + self.next) % self.size
        self.images[places] = images.to(self.images.dtype)
        self.texts[places] = texts.to(self.texts.dtype)
        self.image_ids[places] = image_ids
        self.next = (self.next + len(images)) % self.size
        self.held = min(self.held + len(images), self.size)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything, for a checkpoint."""
        return {**self._tensors(), "next": self.next, "held": self.held}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Undo `state_dict`; raises ValueError where the sizes differ."""
        for name, mine in self._tensors().items():
            other = state[name]
            assert isinstance(other, Tensor)
            if mine.shape != other.shape:
                raise ValueError(
                    f"the queue holds {tuple(mine.shape)}, the checkpoint {tuple(other.shape)}"
                )
            mine.copy_(other)
        self.next, self.held = int(state["next"]), int(state["held"])

    def _tensors(self) -> dict[str, Tensor]:
        return {"images": self.images, "texts": self.texts, "image_ids": self.image_ids}
