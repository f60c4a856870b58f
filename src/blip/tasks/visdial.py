"""VisDial: fine-tuned to tell true answers from false ones (BLIP, section 5.5)."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from blip.data.dialogue_tokens import ANSWER_TOKENS
from blip.data.examples.dialogues import DialogueBatch, DialogueExamples
from blip.data.tokenizer import Texts, Tokenizer
from blip.errors import UsageError
from blip.evaluation.visdial import prepare_validation
from blip.model.checkpoint.from_med import start_dialogues
from blip.model.dialogue import DialogueModel
from blip.model.operations import WITH_GRADIENT, Operations
from blip.nn.mode import BOTH_MODES, Mode
from blip.objectives.answers import answer_loss
from blip.objectives.config import LanguageConfig
from blip.objectives.dialogues import true_answer_loss
from blip.objectives.lm import select_rows
from blip.tasks.config import RunOptions, VisdialConfig
from blip.tasks.from_med import Parts, med_or, say_fresh, train_from_med


class DialogueOutput(NamedTuple):
    """The losses, and how often the true answer was the best of its candidates."""

    matching: Tensor
    accuracy: Tensor
    language: Tensor | None
    """None for a model without a decoder."""

    @property
    def loss(self) -> Tensor:
        """The sum, unweighted."""
        return self.matching if self.language is None else self.matching + self.language

    def parts(self) -> dict[str, Tensor]:
        """What to log."""
        parts = {"matching": self.matching, "accuracy": self.accuracy}
        return parts if self.language is None else parts | {"language": self.language}


class DialogueStep(nn.Module):
    """The losses of a batch: image and dialogue are read once for all answers to a question."""

    def __init__(
        self, model: DialogueModel, tokenizer: Tokenizer, language: LanguageConfig | None
    ) -> None:
        super().__init__()
        self.model = model
        self.enc_id, self.dec_id = tokenizer.enc_id, tokenizer.dec_id
        self.language = language

    def forward(self, batch: DialogueBatch) -> DialogueOutput:
        """Losses of a batch."""
        model, of_answer = self.model, batch.dialogue_of_answer
        image_kv = model.project_with_captions(model.encode_image(batch.images), *batch.captions)
        dialogues = model.encode_dialogues(*batch.dialogues, image_kv)
        answers = batch.answers.start_with(self.enc_id)
        logits = model.answer_logits(*answers, dialogues, image_kv, of_answer)
        matching = true_answer_loss(logits, batch.true, of_answer, len(batch))
        language = None
        if self.language is not None:
            smoothing, device = self.language.label_smoothing, batch.images.device
            written = batch.answers.start_with(self.dec_id)
            true = Texts(select_rows(written.ids, batch.true), written.visible[batch.true])
            # Every question has one true answer.
            asked = torch.arange(len(batch), device=device)
            language = answer_loss(
                model,
                model.project_dialogues(dialogues),
                true,
                asked,
                torch.ones(len(batch), device=device),
                smoothing,
            )
        return DialogueOutput(matching.loss, matching.accuracy, language)

    def operations(self, batch: DialogueBatch) -> float:
        """Floating-point operations of an update."""
        parts = Operations(self.model.config)
        captions, dialogues = batch.captions.lengths(), batch.dialogues.lengths()
        read = 0.0
        for caption, dialogue in zip(captions, dialogues, strict=True):
            read += parts.text(caption, grounded=False, first=False) + parts.caption_kv(caption)
            read += parts.after_prefix(dialogue, 0, caption, first=False)
        for length, asked, is_true in zip(
            batch.answers.lengths(),
            batch.dialogue_of_answer.tolist(),
            batch.true.tolist(),
            strict=True,
        ):
            dialogue, caption = dialogues[asked], captions[asked]
            read += parts.after_prefix(length, dialogue, caption, first=True)
            read += 4.0 * self.model.config.text.width
            if is_true and self.language is not None:
                # The last token is a target, and is not read.
                read += parts.question_kv(dialogue)
                read += parts.answer(length - 1, dialogue) + parts.words(length - 1)
        return parts.trained_images(len(batch), image_kvs=1) + WITH_GRADIENT * read


def train(config: VisdialConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Fine-tune for dialogues into the run folder `out` (resumed where it stopped); returns `out`.

    Raises UsageError if `init` is a model of another kind, or lacks what the run trains.
    """
    parts = Parts(
        start=lambda given: _start(config, given),
        validate=lambda model, tokenizer: (
            config.validation and prepare_validation(model, tokenizer, config.validation)
        ),
        make_step=lambda model, tokenizer: DialogueStep(model, tokenizer, config.language),
        operations=DialogueStep.operations,
        make_examples=lambda tokenizer: DialogueExamples(config.data, tokenizer, config.negatives),
    )
    return train_from_med(config, out, options, parts)


def _start(config: VisdialConfig, given: nn.Module) -> DialogueModel:
    """A model for dialogues from a MED, or from another one for dialogues."""
    modes: tuple[Mode, ...] = BOTH_MODES if config.language else BOTH_MODES[:1]
    positions = config.data.max_tokens + ANSWER_TOKENS
    before = med_or(given, DialogueModel, config.init)
    try:
        model, fresh = start_dialogues(before, modes, positions, config.drop_path)
    except UsageError as error:
        raise UsageError(f"init: {config.init}: {error}") from error
    say_fresh(config.init, fresh)
    return model
