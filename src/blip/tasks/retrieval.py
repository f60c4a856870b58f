"""Retrieval and the filter: fine-tuned with ITC + ITM (BLIP, sections 3.3 and 5.1)."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from blip.data.examples.pairs import PairBatch, PairExamples
from blip.data.tokenizer import Tokenizer
from blip.evaluation.validation import Validation
from blip.inference.checkpoint import load_model
from blip.model.blip import Blip
from blip.model.operations import Operations
from blip.objectives.itc import ITCContext, MomentumContrast, itc_operations
from blip.objectives.itm import (
    SampleNegatives,
    align,
    itm_loss,
    itm_operations,
    sample_negatives,
)
from blip.tasks.config import FilterConfig, RunOptions
from blip.tasks.run import train_in
from blip.train.training import Training


class RetrievalOutput(NamedTuple):
    """Both losses, how often ITM was right, and the temperature of ITC."""

    contrastive: Tensor
    matching: Tensor
    matching_accuracy: Tensor
    temperature: Tensor

    @property
    def loss(self) -> Tensor:
        """The sum, unweighted as published."""
        return self.contrastive + self.matching

    def parts(self) -> dict[str, Tensor]:
        """What to log."""
        return self._asdict()


class RetrievalStep(nn.Module):
    """ITC and ITM of a batch in one pass over the image."""

    def __init__(
        self, model: Blip, tokenizer: Tokenizer, *, sample: SampleNegatives = sample_negatives
    ) -> None:
        super().__init__()
        model.freeze_all_but("bidirectional")
        self.model = model
        self.enc_id = tokenizer.enc_id
        self.sample = sample

    def forward(self, batch: PairBatch, context: ITCContext) -> RetrievalOutput:
        """Losses of a batch; changes nothing."""
        model = self.model
        image_states = model.encode_image(batch.images)
        contrastive, pairs = align(
            model, image_states, batch.texts, context, self.enc_id, self.sample
        )
        # Before the negatives, which have to be waited for on a GPU.
        image_kv = model.project_image(image_states, "bidirectional")
        (encoded,) = model.text.forward_packed(image_kv, pairs())
        matching = itm_loss(model, encoded, len(image_states))
        temperature = model.temperature.detach().squeeze().clone()
        return RetrievalOutput(contrastive, matching.loss, matching.accuracy, temperature)

    def operations(self, batch: PairBatch) -> float:
        """Floating-point operations of an update, but for those of the state of ITC."""
        parts, lengths = Operations(self.model.config), batch.texts.lengths()
        return (
            parts.trained_images(len(batch), image_kvs=1)
            + itc_operations(parts, lengths)
            + itm_operations(parts, lengths)
        )


def train(config: FilterConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Fine-tune a filter into the run folder `out` (resumed where it stopped); returns `out`."""
    loaded = load_model(config.init, image_size=config.data.image.size)
    model, tokenizer = loaded.model, loaded.tokenizer

    def prepare() -> tuple[Training[Blip], PairExamples]:
        step = RetrievalStep(model, tokenizer)
        validation = config.validation and Validation(model, tokenizer, config.validation)
        training = Training(
            step=step,
            model=model,
            state=MomentumContrast(model, config.contrastive),
            evaluator=validation and validation.recalls,
            operations=step.operations,
        )
        return training, PairExamples(config.data, tokenizer)

    return train_in(out, config, options, tokenizer, prepare)
