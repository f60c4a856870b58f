"""Build the model that a configuration describes."""

from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.model.dialogue import DialogueModel
from blip.model.pair import PairModel
from blip.model.question import QuestionModel

Model = Blip | QuestionModel | PairModel | DialogueModel


def make_model(config: ModelConfig) -> Model:
    """Build the model with newly initialised weights."""
    match config.architecture:
        case "med":
            return Blip(config)
        case "vqa":
            return QuestionModel(config)
        case "nlvr":
            return PairModel(config)
        case "visdial":
            return DialogueModel(config)
