"""The model of VQA: an encoder reads image and question, a decoder answers."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.model.config import ModelConfig
from blip.model.grounded import GroundedModel
from blip.model.heads import LanguageHead
from blip.model.parts import cross_to
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.nn.per_mode import Shared

NOTHING_SHARED = Shared(embedding=False, self_attention=False, cross_attention=False, mlp=False)


class QuestionModel(GroundedModel):
    """Image and question in, answer out (BLIP, section 5.3 and figure 5).

    Encoder and decoder share nothing: the encoder's cross-attention reads the image, the decoder's
    reads the encoder's states. Questions start with `[ENC]`, answers with `[DEC]`.
    """

    def __init__(self, config: ModelConfig) -> None:
        widths: dict[Mode, int] = {
            "bidirectional": config.vision.width,
            "causal": config.text.width,
        }
        super().__init__(config, cross_to(config, widths), shared=NOTHING_SHARED)
        self.language_head = LanguageHead(config.text.width, config.text.vocabulary_size)

    def read_questions(
        self,
        ids: Int[Tensor, "questions length"],
        visible: Bool[Tensor, "questions length"],
        image_states: Float[Tensor, "images tokens width"],
    ) -> ImageKV:
        """The decoder's keys and values of the questions, once for all answers to them.

        Row `i` asks about image `i // (questions // images)`. The steps, for whoever asks about the
        same images again: `project_image`, `ground`, `project_questions`.
        """
        states = self.ground(ids, visible, self.project_image(image_states))
        return self.project_questions(states, visible)

    def project_image(self, states: Float[Tensor, "images tokens width"]) -> ImageKV:
        """The encoder's cross-attention keys and values, once for all questions about an image."""
        (image_kv,) = self.text.project_kv(states, mode="bidirectional")
        return image_kv

    def ground(
        self,
        ids: Int[Tensor, "questions length"],
        visible: Bool[Tensor, "questions length"],
        image_kv: ImageKV,
    ) -> Float[Tensor, "questions length width"]:
        """States of questions that start with `[ENC]`; rows as in `read_questions`."""
        return self.text(ids, visible, mode="bidirectional", image_kv=image_kv)

    def project_questions(
        self,
        states: Float[Tensor, "questions length width"],
        visible: Bool[Tensor, "questions length"],
    ) -> ImageKV:
        """The decoder's cross-attention keys and values; it does not see the padding."""
        (questions,) = self.text.project_kv(states, mode="causal", visible=visible)
        return questions

    def next_token_logits(
        self, states: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*rows vocabulary"]:
        """Vocabulary logits of decoder states."""
        return self.language_head(states, self.text.embedding.select("causal").words.weight)

    def decode(
        self,
        ids: Int[Tensor, "answers length"],
        visible: Bool[Tensor, "answers length"],
        questions: ImageKV,
    ) -> Float[Tensor, "answers length width"]:
        """Causal states of answers that start with `[DEC]`.

        Row `i` answers question `i // (answers // len(questions))`.
        """
        return self.text(ids, visible, mode="causal", image_kv=questions)

    def answer_logits(
        self,
        ids: Int[Tensor, "answers length"],
        visible: Bool[Tensor, "answers length"],
        questions: ImageKV,
    ) -> Float[Tensor, "answers length vocabulary"]:
        """Logits of the token that follows each token of the answers. Rows as in `decode`."""
        return self.next_token_logits(self.decode(ids, visible, questions))
