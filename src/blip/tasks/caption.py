"""The captioner: fine-tuned with LM (BLIP, sections 3.3 and 5.2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import load_model
from blip.model.blip import Blip
from blip.objectives.config import LanguageConfig
from blip.objectives.lm import lm_inputs, lm_loss
from blip.tasks.config import CaptionerConfig, RunOptions
from blip.tasks.operations import StepOperations
from blip.tasks.run import open_run


class CaptionOutput(NamedTuple):
    """The language-modelling loss."""

    language: Tensor

    @property
    def loss(self) -> Tensor:
        """LM alone."""
        return self.language

    def parts(self) -> dict[str, Tensor]:
        """What to log."""
        return self._asdict()


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

    def forward(self, batch: PairBatch, context: None) -> CaptionOutput:
        """Loss of a batch; needs no context."""
        image_kv = self.model.project_image(self.model.encode_image(batch.images), "causal")
        captions = lm_inputs(batch.texts.start_with(self.dec_id), self.prompt_tokens)
        (decoded,) = self.model.text.forward_packed(image_kv, captions.inputs)
        smoothing = self.language.label_smoothing
        return CaptionOutput(lm_loss(self.model, captions, decoded, smoothing))


class CaptionTask:
    """What the training loop needs to know of the captioner: no state but its weights."""

    def __init__(self, step: CaptionStep) -> None:
        self.step = step
        self.operations = StepOperations(
            step.model.config, contrasts=False, writes=True, prompt_tokens=step.prompt_tokens
        )

    @property
    def momentum_encoders(self) -> Mapping[str, nn.Module]:
        """None."""
        return {}

    def to(self, device: torch.device) -> None:
        """Move the step."""
        self.step.to(device)

    def context(self, batch: PairBatch, epoch: float) -> None:
        """Nothing is needed beside the batch."""

    def after_update(self, context: None) -> None:
        """Nothing follows the update."""

    def evaluate(self) -> Mapping[str, float]:
        """Captions are judged after training, on the test split."""
        return {}

    def samples(self) -> None:
        """Captions are written after training, too."""

    def state_dict(self) -> dict[str, object]:
        """Nothing beside the weights."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`."""


def train(config: CaptionerConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Fine-tune a captioner into the run folder `out` (resumed where it was cut); returns `out`."""
    loaded = load_model(config.init, image_size=config.data.image.size)
    with open_run(config, out, options) as folder:
        if folder.is_finished:
            return out
        prompt = config.data.prompt
        step = CaptionStep(loaded.model, loaded.tokenizer, config.language, prompt=prompt)
        folder.train(CaptionTask(step), loaded.model, loaded.tokenizer)
    return out
