"""A training step each of ours, of the textbook and of Hugging Face's modules, on equal terms."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from peer import peer_of
from textbook import MomentumState, Sizes, TextbookStep
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.model.blip import Blip
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.objectives.itm import Negatives
from blip.tasks.pretrain import PretrainStep
from blip.train.config import OptimizerConfig
from blip.train.optim import make_optimizer
from blip.train.parallelize import compile_layers, gradients

LONGEST_TEXT = 30
"""Tokens that both peers pad texts to, as the original does in pre-training."""

ALPHA, EPOCH = 0.4, 2.0
"""Weight of the soft targets, and an epoch at which ours has reached it."""

OPTIMIZER = OptimizerConfig()
Autocast = Callable[[], AbstractContextManager[object]]


class Contender(ABC):
    """A model, its optimiser, and what they need to take one step after another."""

    def step(self) -> None:
        """One update of the weights."""
        self.update(self.losses())

    @abstractmethod
    def set_dropout(self, on: bool) -> None:
        """Switch dropout; without it all contenders must give the same losses."""

    @abstractmethod
    def losses(self) -> Tensor:
        """ITC, ITM and LM of the batch, `(3,)`."""

    @abstractmethod
    def update(self, losses: Tensor) -> None:
        """Backward pass, optimiser, momentum encoders, queue."""


class Given(NamedTuple):
    """What each contender works on."""

    tokenizer: Tokenizer
    batch: PairBatch
    """Texts padded to the longest of them."""
    negatives: Negatives
    autocast: Autocast

    def padded(self) -> tuple[Tensor, Tensor]:
        """Ids and which of them are tokens, `(batch, LONGEST_TEXT)`."""
        ids, visible = self.batch.texts.to(self.batch.images.device)
        room = LONGEST_TEXT - ids.shape[1]
        pad = torch.nn.functional.pad
        return pad(ids, (0, room), value=self.tokenizer.pad_id), pad(visible, (0, room))


class Ours(Contender):
    """What `blip pretrain` does."""

    def __init__(self, model: Blip, given: Given) -> None:
        self.given = given
        step = PretrainStep(
            model, given.tokenizer, LanguageConfig(), sample=lambda *_: given.negatives
        )
        self.pretrain_step = step.train()
        self.contrast = MomentumContrast(model, ContrastiveConfig())
        self.optimizer = make_optimizer(step, OPTIMIZER)

    def compile(self) -> None:
        """What the training loop does with `train.compile`."""
        for module in (self.pretrain_step, *self.contrast.momentum_encoders.values()):
            compile_layers(module)

    def set_dropout(self, on: bool) -> None:
        """See `Contender`."""
        self.pretrain_step.train(on)

    def losses(self) -> Tensor:
        """See `Contender`."""
        with self.given.autocast():
            self.context = self.contrast.context(self.given.batch, EPOCH)
            output = self.pretrain_step(self.given.batch, self.context)
        return torch.stack([output.contrastive, output.matching, output.language])

    def update(self, losses: Tensor) -> None:
        """See `Contender`."""
        with gradients(self.pretrain_step, complete=True):
            losses.sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.contrast.after_update(self.context)


class Textbook(Contender):
    """Every pass by itself, and torch's optimiser as it comes."""

    def __init__(self, model: Blip, given: Given) -> None:
        self.given = given
        config = model.config
        self.dropout = config.text.dropout
        sizes = Sizes(
            patch=config.vision.patch_size,
            vision_heads=config.vision.heads,
            text_heads=config.text.heads,
            vision_eps=config.vision.norm_eps,
            dropout=self.dropout,
        )
        tokens = {"enc_id": given.tokenizer.enc_id, "dec_id": given.tokenizer.dec_id}
        self.book = TextbookStep(model.state_dict(), sizes, **tokens)
        self.optimizer = torch.optim.AdamW(
            self.book.weights.values(), lr=OPTIMIZER.lr, weight_decay=OPTIMIZER.weight_decay
        )

    def set_dropout(self, on: bool) -> None:
        """See `Contender`."""
        self.book.model.sizes = replace(self.book.model.sizes, dropout=self.dropout if on else 0.0)

    def losses(self) -> Tensor:
        """See `Contender`."""
        images, negatives = self.given.batch.images, self.given.negatives
        with self.given.autocast():
            found = self.book.losses(
                images, *self.given.padded(), lambda *_: (negatives.images, negatives.texts), ALPHA
            )
        return torch.stack(list(found))

    def update(self, losses: Tensor) -> None:
        """See `Contender`."""
        losses.sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.book.after_update()


class HuggingFace(Contender):
    """The modules of transformers, put together as the paper's figure 2 asks.

    Encoder and decoder share what can be shared by giving both the same module. The momentum
    copies are deep copies; the optimiser is the one that transformers' Trainer takes by default.
    """

    def __init__(self, model: Blip, given: Given) -> None:
        self.given = given
        matcher = peer_of("itm", model, given.tokenizer).train()
        writer = peer_of("caption", model, given.tokenizer).train().text_decoder
        share(matcher.text_encoder, writer)
        writer.label_smoothing = LanguageConfig().label_smoothing
        self.matcher, self.writer = matcher, writer
        self.temperature = torch.nn.Parameter(model.temperature.detach().clone())
        names = ("vision_model", "text_encoder", "vision_proj", "text_proj")
        leading = torch.nn.ModuleDict({name: getattr(matcher, name) for name in names})
        self.leading = dict(leading.named_parameters())
        self.slow: Any = copy.deepcopy(leading).eval().requires_grad_(False)
        config = ContrastiveConfig()
        width = model.config.projection
        self.momentum_state = MomentumState({}, config.queue_size, width, self.temperature)
        self.momentum_state.weights = dict(self.slow.named_parameters())
        learning = {*matcher.parameters(), *writer.parameters(), self.temperature}
        self.optimizer = torch.optim.AdamW(
            learning, lr=OPTIMIZER.lr, weight_decay=OPTIMIZER.weight_decay, fused=True
        )

    def set_dropout(self, on: bool) -> None:
        """See `Contender`."""
        self.matcher.train(on)
        self.writer.train(on)

    def losses(self) -> Tensor:
        """See `Contender`."""
        with self.given.autocast():
            return torch.stack(self._losses())

    def _losses(self) -> list[Tensor]:
        given, matcher = self.given, self.matcher
        ids, visible = given.padded()
        seen = visible.long()
        states = matcher.vision_model(given.batch.images).last_hidden_state
        features = self._features(matcher, states, ids, seen)
        with torch.no_grad():
            slow_states = self.slow["vision_model"](given.batch.images).last_hidden_state
            self.newest = self._features(_Parts(self.slow), slow_states, ids, seen)
        contrastive, _, _ = self.momentum_state.contrastive_loss(
            features, self.newest, self.temperature, ALPHA
        )
        encoded = ids.clone()
        encoded[:, 0] = given.tokenizer.enc_id
        image_of_text, text_of_image = given.negatives
        positive = self._match(encoded, seen, states)
        negative = self._match(
            torch.cat([encoded, encoded[text_of_image]]),
            torch.cat([seen, seen[text_of_image]]),
            torch.cat([states[image_of_text], states]),
        )
        logits = torch.cat([positive, negative])
        matching = (torch.arange(len(logits), device=ids.device) < len(ids)).long()
        decoded = ids.clone()
        decoded[:, 0] = given.tokenizer.dec_id
        written = self.writer(
            input_ids=decoded,
            attention_mask=seen,
            encoder_hidden_states=states,
            encoder_attention_mask=seen.new_ones(states.shape[:2]),
            labels=decoded.masked_fill(~visible, -100),
        )
        return [contrastive, cross_entropy(logits, matching), written.loss]

    def _features(
        self, parts: Any, states: Tensor, ids: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        texts = parts.text_encoder(input_ids=ids, attention_mask=seen).last_hidden_state
        image = normalize(parts.vision_proj(states[:, 0]), dim=-1)
        return image, normalize(parts.text_proj(texts[:, 0]), dim=-1)

    def _match(self, ids: Tensor, seen: Tensor, states: Tensor) -> Tensor:
        found = self.matcher.text_encoder(
            input_ids=ids,
            attention_mask=seen,
            encoder_hidden_states=states,
            encoder_attention_mask=seen.new_ones(states.shape[:2]),
        )
        return self.matcher.itm_head(found.last_hidden_state[:, 0])

    def update(self, losses: Tensor) -> None:
        """See `Contender`."""
        losses.sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.momentum_state.update(self.leading, 0.995)
        self.momentum_state.push(*self.newest)
        with torch.no_grad():
            self.temperature.clamp_(0.001, 0.5)


class _Parts:
    """The modules of a `ModuleDict` as attributes."""

    def __init__(self, modules: Any) -> None:
        self.text_encoder = modules["text_encoder"]
        self.vision_proj, self.text_proj = modules["vision_proj"], modules["text_proj"]


def share(encoder: Any, decoder: Any) -> None:
    """Let the decoder use the encoder's modules, all but self-attention (BLIP, section 3.1)."""
    decoder.bert.embeddings = encoder.embeddings
    decoder.cls.predictions.decoder.weight = encoder.embeddings.word_embeddings.weight
    for mine, theirs in zip(decoder.bert.encoder.layer, encoder.encoder.layer, strict=True):
        mine.crossattention = theirs.crossattention
        mine.intermediate = theirs.intermediate
        mine.output = theirs.output


CONTENDERS: dict[str, Callable[[Blip, Given], Contender]] = {
    "ours": Ours,
    "textbook": Textbook,
    "huggingface": HuggingFace,
}
