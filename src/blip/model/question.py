"""The model of VQA: an encoder reads image and question, a decoder answers."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.model.config import ModelConfig
from blip.model.grounded import EncoderDecoder
from blip.model.heads import LanguageHead
from blip.model.parts import SHARED_PARTS, cross_to
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode


class QuestionModel(EncoderDecoder):
    """Image and question in, answer out (BLIP, section 5.3 and figure 5).

    Encoder and decoder share nothing: the encoder's cross-attention reads the image, the decoder's
    reads the encoder's states. Questions start with `[ENC]`, answers with `[DEC]`. In `decode` and
    `language_logits` the texts are answers, and what `read_questions` returns stands for the image.
    """

    def __init__(self, config: ModelConfig) -> None:
        widths: dict[Mode, int] = {
            "bidirectional": config.vision.width,
            "causal": config.text.width,
        }
        super().__init__(config, cross_to(config, widths), shared=SHARED_PARTS["nothing"])
        self.language_head = LanguageHead(config.text.width, config.text.vocabulary_size)

    def read_questions(
        self,
        ids: Int[Tensor, "questions length"],
        visible: Bool[Tensor, "questions length"],
        image_states: Float[Tensor, "images tokens width"],
    ) -> ImageKV:
        """The decoder's keys and values of the questions, once for all answers to them.

        Row `i` asks about image `i // (questions // images)`. For several calls about the same
        images take its three steps: `project_image`, `ground` and `project_questions`.
        """
        states = self.ground(ids, visible, self.project_image(image_states, "bidirectional"))
        return self.project_questions(states, visible)

    def project_questions(
        self,
        states: Float[Tensor, "questions length width"],
        visible: Bool[Tensor, "questions length"],
    ) -> ImageKV:
        """The decoder's cross-attention keys and values; it does not see the padding."""
        (questions,) = self.text.project_kv(states, mode="causal", visible=visible)
        return questions
