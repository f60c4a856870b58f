"""Retrieval and the filter: fine-tuned with ITC + ITM, judged by recall (BLIP 3.3, 5.1)."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from blip.data.evaluation import EvaluationSet
from blip.data.loader import Batch
from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import load_model
from blip.metrics.retrieval import recalls
from blip.model.blip import Blip
from blip.objectives.matching import DrawNegatives, draw_negatives
from blip.tasks.alignment import Context, Contrast, ContrastTask, contrast, judge, pairs_to_judge
from blip.tasks.config import FilterConfig, RetrievalEvaluationConfig, RunOptions
from blip.tasks.ranking import rank
from blip.tasks.run import open_run


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
        self, model: Blip, tokenizer: Tokenizer, *, draw: DrawNegatives = draw_negatives
    ) -> None:
        super().__init__()
        model.freeze_all_but("bidirectional")
        self.model = model
        self.enc_id = tokenizer.enc_id
        self.draw = draw

    def forward(self, batch: Batch, context: Context) -> RetrievalOutput:
        """Losses of a batch; changes nothing."""
        states = self.model.encode_image(batch.images)
        contrastive, negatives = contrast(self.model, batch, states, context, self.draw)
        image_kv = self.model.project_image(states, "bidirectional")
        pairs = pairs_to_judge(batch, negatives, self.enc_id)
        (judged,) = self.model.text.forward_packed(image_kv, pairs)
        matched = judge(self.model, judged, len(states))
        temperature = self.model.temperature.detach().squeeze().clone()
        return RetrievalOutput(contrastive, matched.loss, matched.accuracy, temperature)


def train(config: FilterConfig, out: Path, options: RunOptions | None = None) -> Path:
    """Fine-tune a filter into the run folder `out` (resumed where it was cut); returns `out`."""
    loaded = load_model(config.init, image_size=config.data.image.size)
    with open_run(config, out, options) as folder:
        if folder.is_finished:
            return out
        step = RetrievalStep(loaded.model, loaded.tokenizer)
        task = ContrastTask(step, Contrast(loaded.model, config.contrastive))
        folder.train(task, loaded.model, loaded.tokenizer)
    return out


def evaluate(
    model: Blip,
    tokenizer: Tokenizer,
    data: EvaluationSet,
    config: RetrievalEvaluationConfig,
) -> dict[str, float]:
    """Recall at 1, 5 and 10 in per cent, image to text (tr) and text to image (ir)."""
    ranking = rank(model, tokenizer, data, config)
    of_texts = recalls(ranking.image_to_text, ranking.texts_of_image)
    of_images = recalls(ranking.text_to_image, ranking.texts_of_image)
    return {
        name: (of_texts if name.startswith("tr") else of_images)[name]
        for name in ("tr1", "tr5", "tr10", "ir1", "ir5", "ir10")
    }
