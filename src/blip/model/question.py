"""The model of VQA: an encoder reads image and question, a decoder answers."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.model.config import ModelConfig
from blip.model.heads import LanguageHead
from blip.model.parts import cross_to, make_text, make_vision
from blip.nn.memory import ImageMemory
from blip.nn.mode import Mode


class QuestionModel(nn.Module):
    """Image and question in, answer out (BLIP, section 5.3 and figure 5).

    Encoder and decoder share nothing: the encoder's cross-attention reads the image, the decoder's
    reads the encoder's states. Questions start with `[ENC]`, answers with `[DEC]`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = make_vision(config)
        widths: dict[Mode, int] = {
            "bidirectional": config.vision.width,
            "causal": config.text.width,
        }
        self.text = make_text(
            config, cross_to(config, widths), shared=frozenset(), modes=config.modes
        )
        self.language_head = LanguageHead(config.text.width, config.text.vocabulary_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vision.class_token.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights, in which pixels are to come."""
        return self.vision.class_token.dtype

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """States of the class token and of every patch, of normalised pixels."""
        return self.vision(images)

    def read_questions(
        self,
        ids: Int[Tensor, "questions length"],
        visible: Bool[Tensor, "questions length"],
        image_states: Float[Tensor, "images tokens width"],
    ) -> ImageMemory:
        """What the decoder reads of the questions, once for all answers to them.

        Row `i` asks about image `i // (questions // images)`. The steps, for whoever asks about the
        same images again: `project_image`, `ground`, `project_questions`.
        """
        states = self.ground(ids, visible, self.project_image(image_states))
        return self.project_questions(states, visible)

    def project_image(self, states: Float[Tensor, "images tokens width"]) -> ImageMemory:
        """The encoder's cross-attention keys and values, once for all questions about an image."""
        return self.text.remember(states, mode="bidirectional")

    def ground(
        self,
        ids: Int[Tensor, "questions length"],
        visible: Bool[Tensor, "questions length"],
        memory: ImageMemory,
    ) -> Float[Tensor, "questions length width"]:
        """States of questions that start with `[ENC]`; rows as in `read_questions`."""
        return self.text(ids, visible, mode="bidirectional", memory=memory)

    def project_questions(
        self,
        states: Float[Tensor, "questions length width"],
        visible: Bool[Tensor, "questions length"],
    ) -> ImageMemory:
        """The decoder's cross-attention keys and values; it does not see the padding."""
        return self.text.remember(states, mode="causal", visible=visible)

    def next_token_logits(
        self, states: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*rows vocabulary"]:
        """Vocabulary logits of decoder states."""
        return self.language_head(states, self.text.embedding.select("causal").words.weight)

    def decode(
        self,
        ids: Int[Tensor, "answers length"],
        visible: Bool[Tensor, "answers length"],
        questions: ImageMemory,
    ) -> Float[Tensor, "answers length width"]:
        """Causal states of answers that start with `[DEC]`.

        Row `i` answers question `i // (answers // len(questions))`.
        """
        return self.text(ids, visible, mode="causal", memory=questions)

    def answer_logits(
        self,
        ids: Int[Tensor, "answers length"],
        visible: Bool[Tensor, "answers length"],
        questions: ImageMemory,
    ) -> Float[Tensor, "answers length vocabulary"]:
        """Logits of the token that follows each token of the answers. Rows as in `decode`."""
        return self.next_token_logits(self.decode(ids, visible, questions))
