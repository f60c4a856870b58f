"""Image-text retrieval: recall at 1, 5 and 10, both ways (BLIP, section 5.1)."""

from typing import Any

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Tokenizer
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import rank
from blip.evaluation.subject import Subject
from blip.metrics.retrieval import recalls
from blip.model.blip import Blip


def measure(subject: Subject) -> dict[str, Any]:
    """`retrieval`: tr1 ... ir10, in per cent."""
    model, config = subject.model, subject.config.retrieval
    assert isinstance(model, Blip)
    return {"retrieval": evaluate_retrieval(model, subject.tokenizer, subject.pairs, config)}


def evaluate_retrieval(
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
