"""The model of VisDial: does an answer fit a dialogue about an image? It may write one as well."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.errors import UsageError
from blip.model.config import ModelConfig
from blip.model.grounded import EncoderDecoder
from blip.model.heads import LanguageHead
from blip.model.parts import SHARED_PARTS, cross_to
from blip.nn.init import init_std, init_weights
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode
from blip.nn.prefix import Prefixes, encode_prefixes, first_states_after


class DialogueModel(EncoderDecoder):
    """Image, caption and dialogue in; out come logits of answers, and a decoder's own answer.

    The dialogue encoder attends to the states of image and caption by cross-attention (BLIP,
    section 5.5 and figure 5c). Dialogues start with `[CLS]`. An answer starts with `[ENC]` and
    follows its dialogue, which does not see it (`nn/prefix.py`): a dialogue is encoded once for all
    answers. The decoder is that of `QuestionModel`, whose questions are dialogues here;
    answers for it start with `[DEC]`. A model of the mode `bidirectional` alone has none.
    """

    def __init__(self, config: ModelConfig) -> None:
        vision, text = config.vision.width, config.text.width
        widths: dict[Mode, int] = {"bidirectional": vision, "causal": text}
        super().__init__(config, cross_to(config, widths), shared=SHARED_PARTS["nothing"])
        # Cross-attention reads both kinds of states, and takes those of an image's width.
        self.caption_projection = nn.Identity() if text == vision else nn.Linear(text, vision)
        self.matching_head = nn.Linear(text, 2)
        init_weights(self.caption_projection, init_std(vision))
        init_weights(self.matching_head, init_std(text))
        if "causal" in config.modes:
            self.language_head = LanguageHead(text, config.text.vocabulary_size)

    def require(self, mode: Mode) -> None:
        """Raise UsageError where the model was built without a decoder and `mode` needs one."""
        if mode not in self.config.modes:
            raise UsageError(
                "this model for dialogues has no text decoder: it ranks answers and writes none"
            )

    def project_with_captions(
        self,
        image_states: Float[Tensor, "images tokens width"],
        ids: Int[Tensor, "images length"],
        visible: Bool[Tensor, "images length"],
    ) -> ImageKV:
        """Keys and values of images and of their captions, which start with `[CLS]`.

        The unimodal text encoder reads the captions; an empty one is `[CLS] [SEP]`.
        """
        captions = self.caption_projection(self.text(ids, visible, mode="bidirectional"))
        states = torch.cat([image_states, captions], dim=1)
        of_images = visible.new_ones(len(visible), image_states.shape[1])
        seen = torch.cat([of_images, visible], dim=1)
        (kv,) = self.text.project_kv(states, mode="bidirectional", visible=seen)
        return kv

    def encode_dialogues(
        self,
        ids: Int[Tensor, "dialogues length"],
        visible: Bool[Tensor, "dialogues length"],
        image_kv: ImageKV,
    ) -> Prefixes:
        """Encode each dialogue about its own image, once for all answers."""
        return encode_prefixes(self.text, ids, visible, image_kv)

    def answer_logits(
        self,
        ids: Int[Tensor, "answers length"],
        visible: Bool[Tensor, "answers length"],
        dialogues: Prefixes,
        image_kv: ImageKV,
        dialogue_of_answer: Int[Tensor, " answers"] | None = None,
    ) -> Float[Tensor, "answers 2"]:
        """Column 1 is for an answer that fits its dialogue, column 0 against.

        `dialogue_of_answer` says which dialogue each answers; without it answer `i` follows
        dialogue `i // (answers // dialogues)`.
        """
        states = first_states_after(
            self.text, dialogues, ids, visible, image_kv, dialogue_of_answer
        )
        return self.matching_head(states)

    def project_dialogues(self, dialogues: Prefixes) -> ImageKV:
        """The decoder's cross-attention keys and values; it does not see the padding."""
        self.require("causal")
        (kv,) = self.text.project_kv(dialogues.states, mode="causal", visible=dialogues.kv.visible)
        return kv
