"""The captioner: fine-tuned with LM (BLIP, sections 3.3 and 5.2)."""

from pathlib import Path

from torch import nn

from blip.data.examples.pairs import PairBatch, PairExamples
from blip.data.tokenizer import Tokenizer
from blip.evaluation.validation import Validation
from blip.inference.checkpoint import load_model
from blip.model.blip import Blip
from blip.model.operations import Operations
from blip.objectives.config import LanguageConfig
from blip.objectives.lm import LanguageOutput, lm_inputs, lm_loss, lm_operations
from blip.tasks.config import CaptionerConfig, RunOptions
from blip.tasks.run import train_in
from blip.train.training import Training


class CaptionStep(nn.Module):
    """LM of a batch; the prompt, where there is one, is fed and not scored."""

    def __init__(
        self, model: Blip, tokenizer: Tokenizer, language: LanguageConfig, *, prompt: str
    ) -> None:
        super().__init__()
        model.freeze_all_but("causal")
        self.model = model
        self.dec_id = tokenizer.dec_id
        self.prompt_tokens = len(tokenizer.encode_prompt(prompt)) - 1
        self.language = language

    def forward(self, batch: PairBatch) -> LanguageOutput:
        """Loss of a batch."""
        image_kv = self.model.project_image(self.model.encode_image(batch.images), "causal")
        captions = lm_inputs(batch.texts.start_with(self.dec_id), self.prompt_tokens)
        (decoded,) = self.model.text.forward_packed(image_kv, captions.inputs)
        smoothing = self.language.label_smoothing
        return LanguageOutput(lm_loss(self.model, captions, decoded, smoothing))

    def operations(self, batch: PairBatch) -> float:
        """Floating-point operations of an update."""
        parts, lengths = Operations(self.model.config), batch.texts.lengths()
        return parts.trained_images(len(batch), image_kvs=1) + lm_operations(
            parts, lengths, self.prompt_tokens
        )


def train(config: CaptionerConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Fine-tune a captioner into the run folder `out` (resumed where it stopped); returns `out`."""
    loaded = load_model(config.init, image_size=config.data.image.size)
    model, tokenizer = loaded.model, loaded.tokenizer

    def prepare() -> tuple[Training[Blip], PairExamples]:
        step = CaptionStep(model, tokenizer, config.language, prompt=config.data.prompt)
        held_out = config.prompted_validation
        validation = held_out and Validation(model, tokenizer, held_out)
        training = Training(
            step=step,
            model=model,
            evaluator=validation and validation.caption_scores,
            samples=validation and validation.sheet,
            operations=step.operations,
        )
        return training, PairExamples(config.data, tokenizer)

    return train_in(out, config, options, tokenizer, prepare)
