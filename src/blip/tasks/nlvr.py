"""NLVR2: fine-tuned to say whether a statement about two images is true (BLIP, section 5.4)."""

from pathlib import Path

from torch import nn

from blip.data.examples.statements import StatementBatch, StatementExamples
from blip.data.tokenizer import Tokenizer
from blip.evaluation.nlvr import prepare_validation
from blip.log import say
from blip.model.checkpoint.from_med import start_pairs
from blip.model.operations import WITH_GRADIENT, Operations
from blip.model.pair import FIRST_MERGED_LAYER, PairModel
from blip.objectives.statements import StatementOutput, statement_loss
from blip.tasks.config import NlvrConfig, RunOptions
from blip.tasks.from_med import Parts, begin, train_from_med


class NlvrStep(nn.Module):
    """The classification of a batch: every statement is read with both its images."""

    def __init__(self, model: PairModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.enc_id = tokenizer.enc_id

    def forward(self, batch: StatementBatch) -> StatementOutput:
        """Loss of a batch."""
        left, right = self.model.encode_image(batch.images).chunk(2)
        pairs = self.model.project_pairs(left, right)
        statements = batch.statements.start_with(self.enc_id)
        logits = self.model.truth_logits(statements.ids, statements.visible, pairs)
        return statement_loss(logits, batch.labels)

    def operations(self, batch: StatementBatch) -> float:
        """Floating-point operations of an update."""
        parts = Operations(self.model.config)
        merged = max(0, self.model.config.text.depth - FIRST_MERGED_LAYER)
        stated = sum(parts.statement(length, merged) for length in batch.statements.lengths())
        return parts.trained_images(2 * len(batch), image_kvs=1) + WITH_GRADIENT * stated


def train(config: NlvrConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Fine-tune for pairs into the run folder `out` (resumed where it stopped); returns `out`.

    Raises UsageError if `init` is a model of another kind, or lacks the encoder.
    """
    parts = Parts(
        start=lambda given: _start(config, given),
        validate=lambda model, tokenizer: (
            config.validation and prepare_validation(model, tokenizer, config.validation)
        ),
        make_step=NlvrStep,
        operations=NlvrStep.operations,
        make_examples=lambda tokenizer: StatementExamples(config.data, tokenizer, swap=config.swap),
    )
    return train_from_med(config, out, options, parts)


def _start(config: NlvrConfig, given: nn.Module) -> PairModel:
    """A model for pairs from a MED, or from another one for pairs."""
    model = begin(given, PairModel, start_pairs, init=config.init, drop_path=config.drop_path)
    depth = model.config.text.depth
    if depth <= FIRST_MERGED_LAYER:
        say(
            f"{config.init}: its text encoder has {depth} layers, and none merges what it reads in "
            f"both images: the first {FIRST_MERGED_LAYER} take the mean, as in the release"
        )
    return model
