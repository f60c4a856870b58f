"""ITC, the image-text contrastive loss: features of a pair are closer than those of other pairs.

Features of a batch are compared with those that a momentum encoder gives for the global batch, and
with those of earlier batches in a queue (MoCo, He et al. 2020; ALBEF, section 3.3; BLIP, section
3.2). `MomentumContrast` holds that state and makes the `ITCContext` of a batch from it, without a
gradient; `itc_similarities` and `itc_loss` compute the loss, with a gradient.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip import dist
from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.model.operations import WITH_GRADIENT, Operations
from blip.model.unimodal import UnimodalEncoders
from blip.nn.kernels.ema import move_averages
from blip.objectives.config import ContrastiveConfig


class Candidates(NamedTuple):
    """Features to compare with: the momentum features of the global batch, then the queue's."""

    images: Float[Tensor, "candidates projection"]
    texts: Float[Tensor, "candidates projection"]
    matches: Bool[Tensor, "batch candidates"]
    """Which candidates match each image of the batch, and likewise each text."""


class Similarities(NamedTuple):
    """Cosine similarities divided by the temperature, image to text and text to image."""

    image_to_text: Float[Tensor, "batch candidates"]
    text_to_image: Float[Tensor, "batch candidates"]


class ITCContext(NamedTuple):
    """What the losses of a batch need beside the batch; computed without a gradient.

    The axis `global` has the rows of all processes.
    """

    candidates: Candidates
    targets: Similarities
    """Soft targets: rows sum to 1."""
    image_features: Float[Tensor, "global projection"]
    text_features: Float[Tensor, "global projection"]
    image_ids: Int[Tensor, " global"]
    noise: Float[Tensor, "2 batch global"]
    """Random numbers for ITM's negatives: the same for any number of processes."""


def itc_similarities(
    model: Blip,
    image_states: Float[Tensor, "batch tokens width"],
    texts: Texts,
    candidates: Candidates,
) -> Similarities:
    """Similarities of a batch to the candidates; its images are already encoded."""
    images, encoded = model.image_features(image_states), model.text_features(*texts)
    return similarities(images, encoded, candidates, model.temperature)


def itc_loss(online: Similarities, targets: Similarities) -> Float[Tensor, ""]:
    """Cross-entropy between soft targets and similarities, averaged over both directions."""

    def one_way(scores: Tensor, target: Tensor) -> Tensor:
        return -(scores.log_softmax(dim=1) * target).sum(dim=1).mean()

    return (
        one_way(online.image_to_text, targets.image_to_text)
        + one_way(online.text_to_image, targets.text_to_image)
    ) / 2


def itc_operations(parts: Operations, lengths: Sequence[int]) -> float:
    """Floating-point operations of ITC for texts of these lengths, with a gradient.

    Excludes those of the image encoder, which all losses share, and `momentum_operations`.
    """
    return WITH_GRADIENT * _encode_texts(parts, lengths)


def momentum_operations(parts: Operations, lengths: Sequence[int], candidates: int) -> float:
    """Floating-point operations of the momentum encoders, and of the similarities to candidates."""
    encoded = len(lengths) * (parts.patches + parts.image) + _encode_texts(parts, lengths)
    # Both directions, of features with a gradient (none to the candidates) and of the momentum's.
    compared = 2 * 2.0 * candidates * parts.config.projection * (2 + 1)
    return encoded + len(lengths) * compared


def _encode_texts(parts: Operations, lengths: Sequence[int]) -> float:
    """Forward passes of the unimodal text encoder, with both projections of each pair."""
    return sum(
        parts.text(length, grounded=False, first=True) + parts.features() for length in lengths
    )


def similarities(
    images: Float[Tensor, "batch projection"],
    texts: Float[Tensor, "batch projection"],
    candidates: Candidates,
    temperature: Float[Tensor, " one"],
) -> Similarities:
    """Compare normalised features of a batch with the candidates of the other modality."""
    # Autocast would compute in half precision, an error that a small temperature makes large.
    with torch.autocast(images.device.type, enabled=False):
        return Similarities(
            images @ candidates.texts.T / temperature, texts @ candidates.images.T / temperature
        )


def soft_targets(
    momentum: Float[Tensor, "batch candidates"],
    matches: Bool[Tensor, "batch candidates"],
    alpha: float,
) -> Float[Tensor, "batch candidates"]:
    """Mix the matches with what the momentum encoders find similar (ALBEF, equation 6).

    `momentum` holds the momentum encoders' similarities (over the temperature). Several
    matches of a row share its weight. Rows sum to 1.
    """
    hard = matches.to(momentum.dtype) / matches.sum(dim=1, keepdim=True)
    return alpha * momentum.softmax(dim=1) + (1.0 - alpha) * hard


def pair_matches(own: Int[Tensor, " batch"], candidates: int) -> Bool[Tensor, "batch candidates"]:
    """Row `i` matches only candidate `own[i]`."""
    return own[:, None] == torch.arange(candidates, device=own.device)


def image_matches(
    image_ids: Int[Tensor, " batch"], candidate_ids: Int[Tensor, " candidates"]
) -> Bool[Tensor, "batch candidates"]:
    """Row `i` matches every candidate that comes from the same image."""
    return image_ids[:, None] == candidate_ids[None, :]


class MomentumContrast:
    """The state of ITC: momentum encoder and queue, which only `after_update` changes."""

    def __init__(self, model: Blip, config: ContrastiveConfig) -> None:
        model.require("bidirectional")
        device, dtype = model.device, model.temperature.dtype
        self.model = model
        self.config = config
        encoders = UnimodalEncoders(model.config).to(device, dtype)
        self.momentum_encoder = MomentumEncoder(encoders, model)
        self.queue = FeatureQueue(config.queue_size, model.config.projection, device, dtype)
        self.seed, self.drawn = torch.initial_seed(), 0

    @property
    def momentum_encoders(self) -> dict[str, nn.Module]:
        """The momentum encoder's module, by its name in checkpoints."""
        return {"momentum": self.momentum_encoder.module}

    def to(self, device: torch.device) -> None:
        """Move momentum encoder and queue to the model's device."""
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
        """This process's rows of the random numbers for the global batch."""
        source = torch.Generator(own.device).manual_seed((self.seed + self.drawn) % 2**63)
        self.drawn += 1
        return torch.empty(2, rows, rows, device=own.device).exponential_(generator=source)[:, own]

    def alpha(self, epoch: float) -> float:
        """Weight of the soft targets after `epoch` epochs; it grows linearly."""
        ramp = 1.0 if self.config.alpha_epochs == 0 else min(1.0, epoch / self.config.alpha_epochs)
        return self.config.alpha * ramp

    def after_update(self, *contexts: ITCContext) -> None:
        """Update momentum encoder and queue, and clamp the temperature.

        `contexts` are those of all batches whose gradients the update added up.
        """
        self.model.clamp_temperature()
        for one in contexts:
            self.queue.push(one.image_features, one.text_features, one.image_ids)
        self.momentum_encoder.update(self.config.momentum)

    def operations(self, batch: PairBatch) -> float:
        """Floating-point operations that the momentum encoders and the candidates cost a step."""
        candidates = self.config.queue_size + len(batch) * dist.world_size()
        return momentum_operations(Operations(self.model.config), batch.texts.lengths(), candidates)

    def state_dict(self) -> dict[str, object]:
        """Queue and number of draws, for a checkpoint; the momentum encoder is a module."""
        return {"queue": self.queue.state_dict(), "drawn": self.drawn}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned."""
        self.queue.load_state_dict(state["queue"])
        self.drawn = state["drawn"]


class MomentumEncoder:
    """The exponential moving average (EMA) of a module's parameters, matched by name.

    Both modules may be moved or sharded afterwards, in the same way.
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
        """Set the averages to the online parameters."""
        for averaged, online in zip(*self._parameters(), strict=True):
            averaged.copy_(online)

    @torch.no_grad()
    def update(self, momentum: float) -> None:
        """Average = momentum * average + (1 - momentum) * online, for every parameter."""
        averaged, online = self._parameters()
        move_averages(averaged, online, 1.0 - momentum)

    def _parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """Averages and online parameters; of sharded tensors, this process's part."""
        online = dict(self.online.named_parameters())
        own = dict(self.module.named_parameters())
        return [dist.local(own[name]) for name in own], [dist.local(online[name]) for name in own]


class QueueContents(NamedTuple):
    """Features and image ids of recent pairs."""

    images: Float[Tensor, "held projection"]
    texts: Float[Tensor, "held projection"]
    image_ids: Int[Tensor, " held"]


class FeatureQueue:
    """A ring buffer of the last `size` pairs.

    Unlike the original, it starts empty instead of full of random vectors, and it takes batches of
    any size, so that a short last batch wraps around.
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
        """Move the features to a device."""
        self.images = self.images.to(device)
        self.texts = self.texts.to(device)
        self.image_ids = self.image_ids.to(device)

    @property
    def size(self) -> int:
        """Capacity in pairs."""
        return len(self.images)

    def contents(self) -> QueueContents:
        """The pairs in the queue: views, valid until the next `push`."""
        held = slice(0, self.held)
        return QueueContents(self.images[held], self.texts[held], self.image_ids[held])

    @torch.no_grad()
    def push(
        self,
        images: Float[Tensor, "batch projection"],
        texts: Float[Tensor, "batch projection"],
        image_ids: Int[Tensor, " batch"],
    ) -> None:
        """Replace the oldest pairs by these."""
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
        """The whole state, for a checkpoint."""
        return {**self._tensors(), "next": self.next, "held": self.held}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Restore what `state_dict` returned; raises ValueError if the sizes differ."""
        for name, current in self._tensors().items():
            saved = state[name]
            assert isinstance(saved, Tensor)
            if current.shape != saved.shape:
                raise ValueError(
                    f"the queue's {name} has shape {tuple(current.shape)}, the checkpoint's "
                    f"{tuple(saved.shape)}; use the same queue_size and projection"
                )
            current.copy_(saved)
        self.next, self.held = int(state["next"]), int(state["held"])

    def _tensors(self) -> dict[str, Tensor]:
        return {"images": self.images, "texts": self.texts, "image_ids": self.image_ids}
