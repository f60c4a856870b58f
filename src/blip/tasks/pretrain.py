"""Pre-training: ITC, ITM and LM in one pass over the image (BLIP, section 3.2)."""

from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from blip.data.examples.pairs import PairBatch, PairExamples
from blip.data.tokenizer import Tokenizer, find_tokenizer
from blip.errors import UsageError
from blip.evaluation.validation import Validation
from blip.inference.checkpoint import load_model
from blip.log import say
from blip.model.blip import Blip
from blip.model.checkpoint.initial import Started, start_text, start_vision
from blip.model.checkpoint.start_sizes import find_start
from blip.model.operations import Operations
from blip.nn.kv import ImageKV
from blip.nn.packing import PackedPass
from blip.objectives.config import LanguageConfig
from blip.objectives.itc import ITCContext, MomentumContrast, itc_operations
from blip.objectives.itm import (
    SampleNegatives,
    align,
    itm_loss,
    itm_operations,
    sample_negatives,
)
from blip.objectives.lm import lm_inputs, lm_loss, lm_operations
from blip.tasks.config import PretrainConfig, RunOptions
from blip.tasks.run import train_in
from blip.train.training import Training


class PretrainOutput(NamedTuple):
    """The three losses, how often ITM was right, and the temperature of ITC."""

    contrastive: Tensor
    matching: Tensor
    language: Tensor
    matching_accuracy: Tensor
    temperature: Tensor

    @property
    def loss(self) -> Tensor:
        """The sum, unweighted as published."""
        return self.contrastive + self.matching + self.language

    def parts(self) -> dict[str, Tensor]:
        """What to log."""
        return self._asdict()


class PretrainStep(nn.Module):
    """One forward pass of all three objectives: the image is encoded and projected once."""

    def __init__(
        self,
        model: Blip,
        tokenizer: Tokenizer,
        language: LanguageConfig,
        *,
        sample: SampleNegatives = sample_negatives,
    ) -> None:
        super().__init__()
        self.model = model
        self.enc_id, self.dec_id = tokenizer.enc_id, tokenizer.dec_id
        self.language = language
        self.sample = sample

    def forward(self, batch: PairBatch, context: ITCContext) -> PretrainOutput:
        """Losses of a batch; changes nothing."""
        model, texts = self.model, batch.texts
        image_states = model.encode_image(batch.images)
        captions = lm_inputs(texts.start_with(self.dec_id))

        # ITC aligns the unimodal encoders; its similarities say which negatives are hard.
        contrastive, pairs = align(model, image_states, texts, context, self.enc_id, self.sample)

        # ITM and LM read texts about the same images: the image-grounded encoder classifies pairs,
        # the image-grounded decoder predicts the next token. (Images first: on a GPU the negatives
        # have to be waited for, and it computes meanwhile.)
        image_kvs = self._project(image_states)
        encoded, decoded = self._read(image_kvs, pairs(), captions.inputs)
        matching = itm_loss(model, encoded, len(image_states))
        language = lm_loss(model, captions, decoded, self.language.label_smoothing)

        temperature = model.temperature.detach().squeeze().clone()
        return PretrainOutput(contrastive, matching.loss, language, matching.accuracy, temperature)

    def operations(self, batch: PairBatch) -> float:
        """Floating-point operations of an update, but for those of the state of ITC."""
        parts, lengths = Operations(self.model.config), batch.texts.lengths()
        image_kvs = 1 if self.model.shares_cross_attention else 2
        return (
            parts.trained_images(len(batch), image_kvs)
            + itc_operations(parts, lengths)
            + itm_operations(parts, lengths)
            + lm_operations(parts, lengths)
        )

    def _project(
        self, image_states: Float[Tensor, "batch tokens width"]
    ) -> tuple[ImageKV, ImageKV]:
        """Keys and values of the images for encoder and decoder: the same, where they share it."""
        of_encoder = self.model.project_image(image_states, "bidirectional")
        if self.model.shares_cross_attention:
            return of_encoder, of_encoder
        return of_encoder, self.model.project_image(image_states, "causal")

    def _read(
        self, image_kvs: tuple[ImageKV, ImageKV], pairs: PackedPass, texts: PackedPass
    ) -> tuple[Tensor, ...]:
        """States of encoder and decoder: in one pass, where they share enough."""
        model, (of_encoder, of_decoder) = self.model, image_kvs
        if model.shares_all_but_self_attention:
            return model.text.forward_packed(of_encoder, pairs, texts)
        return (
            *model.text.forward_packed(of_encoder, pairs),
            *model.text.forward_packed(of_decoder, texts),
        )


def train(config: PretrainConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Pre-train into the run folder `out` (resumed where it stopped); returns `out`.

    Raises UsageError if tokenizer, model and initial weights do not fit together, and BlipError
    if those are incomplete or another model's.
    """
    tokenizer = Tokenizer.load(config.tokenizer)

    def prepare() -> tuple[Training[Blip], PairExamples]:
        model, started = _start(config, tokenizer)
        step = PretrainStep(model, tokenizer, config.language)
        validation = config.validation and Validation(model, tokenizer, config.validation)
        training = Training(
            step=step,
            model=model,
            state=MomentumContrast(model, config.contrastive),
            evaluator=validation and validation.recalls,
            samples=validation and validation.sheet,
            operations=step.operations,
            lr_scales={f"model.{name}": config.weights_lr_scale for name in started},
        )
        return training, PairExamples(config.data, tokenizer)

    return train_in(out, config, options, tokenizer, prepare)


def _start(config: PretrainConfig, tokenizer: Tokenizer) -> tuple[Blip, frozenset[str]]:
    """The model, and which of its weights start from those of a ViT or a BERT."""
    if config.model.text.vocabulary_size != tokenizer.vocabulary_size:
        raise UsageError(
            f"model.text.vocabulary_size is {config.model.text.vocabulary_size}, "
            f"but the tokenizer {config.tokenizer} has {tokenizer.vocabulary_size} tokens"
        )
    if config.init is None:
        return _new_model(config, tokenizer)
    loaded = load_model(config.init)
    if loaded.config != config.model:
        raise UsageError(f"init: {config.init} holds a model of another shape than model says")
    return loaded.model, frozenset()


def _new_model(config: PretrainConfig, tokenizer: Tokenizer) -> tuple[Blip, frozenset[str]]:
    """A new model, with a ViT's and a BERT's weights where they are given (section 4.1)."""
    model, started = Blip(config.model), list[Started]()
    if config.vision_weights is not None:
        started.append(start_vision(model, config.vision_weights))
    if config.text_weights is not None:
        weights = find_start("text_weights", config.text_weights)
        _check_words(tokenizer, weights, config.tokenizer)
        started.append(start_text(model, weights))
    for part in started:
        say(part.line)
    return model, frozenset[str]().union(*(part.weights for part in started))


def _check_words(tokenizer: Tokenizer, weights: Path, named: str) -> None:
    """Refuse a BERT of another vocabulary: no shape would tell that every word means another."""
    path = find_tokenizer(weights.parent)
    if path is None:
        return
    own = tokenizer.backend.get_vocab(with_added_tokens=True)
    trained = Tokenizer.load(path).backend.get_vocab(with_added_tokens=True)
    if own != trained:
        odd = min(token for token, number in {*own.items()} ^ {*trained.items()})
        raise UsageError(
            f"text_weights were trained with the tokens of {path}, which are not those of the "
            f"tokenizer {named}: they differ in {odd!r}"
        )
