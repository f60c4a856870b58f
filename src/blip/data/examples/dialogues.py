"""Dialogues about images: from a sample to a question with a few candidates, and to a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blip.data.config import DataConfig
from blip.data.dialogue_tokens import ANSWER_TOKENS, encode_answers, encode_captions, encode_turns
from blip.data.dialogues import DIALOGUE, MISSING_ANSWER, NO_ROUND, Dialogue, Turn, dialogue_of
from blip.data.examples.pixels import TrainingPixels
from blip.data.examples.usable import (
    Usable,
    check_picture,
    find_fault_beside_texts,
    say_what_is_there,
)
from blip.data.sample import OrderedSample, Sample, Selected
from blip.data.tokenizer import Texts, Tokenizer
from blip.data.transforms import normalise


class DialogueExample(NamedTuple):
    """An image, a question with the dialogue before it, and candidate answers."""

    pixels: np.ndarray
    """`(size, size, 3)` uint8."""
    turn: Turn
    candidates: tuple[str, ...]
    """The answer first, then some of the options that do not read like it."""
    key: str


@dataclass(frozen=True, slots=True)
class DialogueBatch:
    """Images, a question with its dialogue about each, and candidate answers to them."""

    images: Float[Tensor, "batch 3 height width"]
    captions: Texts
    """`(batch, tokens)`."""
    dialogues: Texts
    """`(batch, tokens)`, which end with the question."""
    answers: Texts
    """`(answers, tokens)`, those to one question after those to another, the true one first."""
    dialogue_of_answer: Int[Tensor, " answers"]
    """Which question each answers; on the CPU."""
    true: Bool[Tensor, " answers"]
    """Which of them were given; on the CPU."""
    keys: tuple[str, ...]

    def __len__(self) -> int:
        """Number of questions."""
        return len(self.images)

    def to(self, device: torch.device | str) -> "DialogueBatch":
        """The same batch on another device, except what tells how texts are packed and chosen.

        Every step reads it, as the lengths of texts from `visible`, and would have to wait for a
        GPU.
        """
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            captions=self.captions.send_ids(device),
            dialogues=self.dialogues.send_ids(device),
            answers=self.answers.send_ids(device),
        )

    def pin_memory(self) -> "DialogueBatch":
        """The same batch in pinned memory; `torch.utils.data.DataLoader` calls it."""
        return replace(
            self,
            images=self.images.pin_memory(),
            captions=self.captions.pin_memory(),
            dialogues=self.dialogues.pin_memory(),
            answers=self.answers.pin_memory(),
        )


@final
class DialogueExamples:
    """Every round of a dialogue whose answer is known among its options is an example.

    An option that reads like the answer once it is cleaned, as "Yes." beside "yes", is not drawn as
    a false one.
    """

    noun = "question"

    def __init__(self, config: DataConfig, tokenizer: Tokenizer, negatives: int) -> None:
        """With `negatives` of the other options drawn for each question."""
        self.config, self.tokenizer, self.negatives = config, tokenizer, negatives
        self.pixels = TrainingPixels(config.image)

    def select(self, sample: Sample) -> Selected:
        """The image of a sample and its dialogue."""
        found = find_dialogue(sample)
        if found.sound is None:
            return Selected(None, 0, found.sample_fault)
        trainable = trainable_rounds(found.sound)
        if not trainable:
            return Selected(
                None,
                0,
                found.part_fault or f"{MISSING_ANSWER}: no round has an answer and a false option",
            )
        meta = {DIALOGUE: found.sound.to_json()}
        return Selected(
            Sample(sample.key, sample.image, (), meta), len(trainable), found.part_fault
        )

    def check(self, sample: Sample) -> Selected:
        """As `select`, with the picture decoded."""
        return check_picture(self.select(sample), self.config.image.max_pixels)

    def make(self, ordered: OrderedSample, rng: np.random.Generator) -> DialogueExample:
        """The image with the question that is due, or with one drawn. Raises BadImageError."""
        sample, number = ordered.sample, ordered.number
        dialogue, _ = dialogue_of(sample.meta)
        assert sample.image is not None
        assert dialogue is not None
        trainable = trainable_rounds(dialogue)
        place = trainable[int(rng.integers(len(trainable))) if number is None else number]
        one = dialogue.rounds[place]
        assert one.answer_index is not None
        others = [*one.find_false()]
        drawn = rng.permutation(len(others))[: self.negatives]
        return DialogueExample(
            pixels=self.pixels.make(sample.image, ordered.cache_key, rng),
            turn=dialogue.turn(place),
            candidates=(
                one.options[one.answer_index],
                *(others[other] for other in drawn),
            ),
            key=sample.key,
        )

    def collate(self, examples: Sequence[DialogueExample]) -> DialogueBatch:
        """Pixels normalised; captions, dialogues and answers as tokens, padded and cut."""
        turns = [example.turn for example in examples]
        answers = [answer for example in examples for answer in example.candidates]
        counts = torch.tensor([len(example.candidates) for example in examples])
        true = torch.zeros(len(answers), dtype=torch.bool)
        true[counts.cumsum(0) - counts] = True
        return DialogueBatch(
            images=normalise(np.stack([example.pixels for example in examples])),
            captions=encode_captions(self.tokenizer, [turn.caption for turn in turns]),
            dialogues=encode_turns(self.tokenizer, turns, self.config.max_tokens),
            answers=encode_answers(self.tokenizer, answers, ANSWER_TOKENS),
            dialogue_of_answer=torch.arange(len(examples)).repeat_interleave(counts),
            true=true,
            keys=tuple(example.key for example in examples),
        )


def trainable_rounds(dialogue: Dialogue) -> list[int]:
    """Numbers of the rounds, from 0, whose answer is known and differs from some option."""
    return [
        number
        for number, one in enumerate(dialogue.rounds)
        if one.answer_index is not None and any(True for _ in one.find_false())
    ]


def find_dialogue(sample: Sample) -> Usable[Dialogue | None]:
    """The sound rounds of a sample, without decoding its picture."""
    fault = find_fault_beside_texts(sample)
    dialogue, faults = dialogue_of(sample.meta)
    if fault is not None:
        return Usable(dialogue, fault, None)
    if faults == [NO_ROUND]:
        faults = [say_what_is_there(NO_ROUND, sample, DIALOGUE)]
    part_fault = "; ".join(faults) or None
    return Usable(dialogue, None if dialogue else part_fault, part_fault)
