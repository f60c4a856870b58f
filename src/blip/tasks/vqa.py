"""VQA: fine-tuned with the answer-weighted language-modelling loss (BLIP, section 5.3)."""

from pathlib import Path

from torch import nn

from blip.data.examples.questions import QuestionBatch, QuestionExamples
from blip.data.tokenizer import Tokenizer
from blip.evaluation.vqa import prepare_validation
from blip.model.checkpoint.from_med import start_questions
from blip.model.operations import WITH_GRADIENT, Operations
from blip.model.question import QuestionModel
from blip.objectives.answers import answer_loss
from blip.objectives.config import LanguageConfig
from blip.objectives.lm import LanguageOutput
from blip.tasks.config import RunOptions, VqaConfig
from blip.tasks.from_med import Parts, begin, train_from_med


class VqaStep(nn.Module):
    """The answer-weighted LM of a batch: each question is read once for all its answers."""

    def __init__(
        self, model: QuestionModel, tokenizer: Tokenizer, language: LanguageConfig
    ) -> None:
        super().__init__()
        self.model = model
        self.enc_id, self.dec_id = tokenizer.enc_id, tokenizer.dec_id
        self.language = language

    def forward(self, batch: QuestionBatch) -> LanguageOutput:
        """Loss of a batch."""
        image_states = self.model.encode_image(batch.images)
        questions = self.model.read_questions(
            *batch.questions.start_with(self.enc_id), image_states
        )
        answers = batch.answers.start_with(self.dec_id)
        smoothing = self.language.label_smoothing
        return LanguageOutput(
            answer_loss(self.model, questions, answers, batch.asked, batch.weights, smoothing)
        )

    def operations(self, batch: QuestionBatch) -> float:
        """Floating-point operations of an update."""
        parts, questions = Operations(self.model.config), batch.questions.lengths()
        read = sum(
            parts.text(n, grounded=True, first=False) + parts.question_kv(n) for n in questions
        )
        written = sum(
            # The last token is a target, and is not read.
            parts.answer(length - 1, questions[asked]) + parts.words(length - 1)
            for length, asked in zip(batch.answers.lengths(), batch.asked.tolist(), strict=True)
        )
        return parts.trained_images(len(batch), image_kvs=1) + WITH_GRADIENT * (read + written)


def train(config: VqaConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Fine-tune for questions into the run folder `out` (resumed where it stopped); returns `out`.

    Raises UsageError if `init` is a model of another kind, or lacks encoder or decoder.
    """
    parts = Parts(
        start=lambda given: begin(
            given, QuestionModel, start_questions, init=config.init, drop_path=config.drop_path
        ),
        validate=lambda model, tokenizer: (
            config.validation and prepare_validation(model, tokenizer, config.validation)
        ),
        make_step=lambda model, tokenizer: VqaStep(model, tokenizer, config.language),
        operations=VqaStep.operations,
        make_examples=lambda tokenizer: QuestionExamples(config.data, tokenizer),
    )
    return train_from_med(config, out, options, parts)
