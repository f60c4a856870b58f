"""What a model can do, by the methods of `LoadedModel`, and which checkpoint does the rest."""

from blip.errors import UsageError
from blip.model.blip import Blip
from blip.model.dialogue import DialogueModel
from blip.model.make import Model
from blip.model.pair import PairModel
from blip.model.question import QuestionModel

READS = ("match", "image_features", "text_features")
RELEASED = {
    "caption": "hf:Salesforce/blip-image-captioning-base",
    **dict.fromkeys(READS, "hf:Salesforce/blip-itm-base-coco"),
    "ask": "hf:Salesforce/blip-vqa-base",
    "compare": "original:model_base_nlvr",
}
"""A released checkpoint for each."""


def abilities(model: Model) -> tuple[str, ...]:
    """The methods of `LoadedModel` that a model has the parts for."""
    match model:
        case Blip():
            modes = model.config.modes
            writes = ("caption",) if "causal" in modes else ()
            return writes + (READS if "bidirectional" in modes else ())
        case QuestionModel() | DialogueModel():
            return ("ask",)
        case PairModel():
            return ("compare",)


def cannot(source: str, model: Model, job: str) -> UsageError:
    """The error for a job that a model of the checkpoint `source` lacks the parts for."""
    can = ", ".join(abilities(model))
    return UsageError(f"{source} can do {can}, but not {job}; load {RELEASED[job]} for that")


def other_answerer(source: str, model: Model) -> UsageError:
    """The error where questions are asked by the class for another kind of model."""
    if isinstance(model, DialogueModel):
        return UsageError(f"{source} is a model for dialogues: use dialogue_answerer, not answerer")
    return UsageError(
        f"{source} is a model for single questions: use answerer, not dialogue_answerer"
    )
