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
    found = evaluate_retrieval(model, subject.tokenizer, subject.pairs, config, show_progress=True)
    return {"retrieval": found}


def evaluate_retrieval(
    model: Blip,
    tokenizer: Tokenizer,
    data: EvaluationSet,
    config: RetrievalEvaluationConfig,
    *,
    show_progress: bool = False,
) -> dict[str, float]:
    """Recall at 1, 5 and 10 in per cent, image to text (tr) and text to image (ir)."""
    ranking = rank(model, tokenizer, data, config, show_progress=show_progress)
    return recalls(ranking.image_to_text, ranking.text_to_image, ranking.texts_of_image)
