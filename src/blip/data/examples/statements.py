"""Statements about pairs of images: from a sample to an example, and to a batch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blip.data.config import DataConfig
from blip.data.examples.pixels import TrainingPixels
from blip.data.examples.usable import (
    Usable,
    check_picture,
    find_fault_beside_texts,
    leave_out_empty,
    leave_out_without_truth,
    say_what_is_there,
)
from blip.data.sample import OrderedSample, Sample, Selected
from blip.data.statements import STATEMENTS, PairStatement, clean_statement, statements_of
from blip.data.tokenizer import Texts, Tokenizer
from blip.data.transforms import normalise
from blip.errors import UsageError

MISSING_LABEL, EMPTY_STATEMENT, NO_STATEMENT = "missing_label", "empty_statement", "no_statement"
NOT_TWO_IMAGES = "not_two_images"
SIDES = re.compile(r"\b(?:left|right)", re.IGNORECASE)
"""How words begin that would become wrong if the images changed places: left-hand, rightmost."""


class StatementExample(NamedTuple):
    """A statement about two images, and whether it is true."""

    left: np.ndarray
    """`(size, size, 3)` uint8."""
    right: np.ndarray
    """As `left`."""
    statement: str
    """Cleaned."""
    label: bool
    key: str


@dataclass(frozen=True, slots=True)
class StatementBatch:
    """Pairs of images and a statement about each."""

    images: Float[Tensor, "images 3 height width"]
    """The left images of all pairs, then the right ones."""
    statements: Texts
    """`(pairs, tokens)`."""
    labels: Bool[Tensor, " pairs"]
    """Which statements are true."""
    keys: tuple[str, ...]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.labels)

    def to(self, device: torch.device | str) -> "StatementBatch":
        """The same batch on another device, except `statements.visible`.

        Every step reads the lengths of the statements from it, and would have to wait for a GPU.
        """
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            statements=self.statements.send_ids(device),
            labels=self.labels.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "StatementBatch":
        """The same batch in pinned memory; `torch.utils.data.DataLoader` calls it."""
        return replace(
            self,
            images=self.images.pin_memory(),
            statements=self.statements.pin_memory(),
            labels=self.labels.pin_memory(),
        )


@final
class StatementExamples:
    """Every labelled statement of a sample is an example (BLIP, section 5.4)."""

    noun = "statement"

    def __init__(self, config: DataConfig, tokenizer: Tokenizer, *, swap: bool = False) -> None:
        """With `swap`, half the pairs change places where the statement names no side.

        Raises UsageError for a prompt: statements have none.
        """
        if config.prompt:
            raise UsageError(f"`data.prompt` must be empty for statements, got {config.prompt!r}")
        self.config, self.tokenizer, self.swap = config, tokenizer, swap
        self.pixels = TrainingPixels(config.image)

    def select(self, sample: Sample) -> Selected:
        """The two images of a sample and those of its statements that have a label."""
        labelled, sample_fault, part_fault = leave_out_without_truth(
            find_statements(sample),
            lambda statement: statement.label is not None,
            lambda statement: statement.identifier,
            missing=MISSING_LABEL,
        )
        if sample_fault is not None:
            return Selected(None, 0, sample_fault)
        meta = {STATEMENTS: [statement.to_json() for statement in labelled]}
        kept = Sample(sample.key, sample.image, (), meta, more_images=sample.more_images)
        return Selected(kept, len(labelled), part_fault)

    def check(self, sample: Sample) -> Selected:
        """As `select`, with both pictures decoded."""
        return check_picture(self.select(sample), self.config.image.max_pixels)

    def make(self, ordered: OrderedSample, rng: np.random.Generator) -> StatementExample:
        """The pair with the statement that is due, or with one drawn. Raises BadImageError."""
        sample, number = ordered.sample, ordered.number
        statements, _ = statements_of(sample.meta)
        if number is None:
            number = int(rng.integers(len(statements)))
        one = statements[number]
        assert sample.image is not None
        assert one.label is not None
        left, right = (
            self.pixels.make(
                content, None if ordered.cache_key is None else (ordered.cache_key, side), rng
            )
            for side, content in enumerate((sample.image, *sample.more_images))
        )
        text = clean_statement(one.text)
        if self.swap and rng.random() < 0.5 and not SIDES.search(one.text):
            left, right = right, left
        return StatementExample(left, right, text, one.label, sample.key)

    def collate(self, examples: Sequence[StatementExample]) -> StatementBatch:
        """Pixels normalised, statements as tokens, padded."""
        pictures = [one.left for one in examples] + [one.right for one in examples]
        texts = [one.statement for one in examples]
        return StatementBatch(
            images=normalise(np.stack(pictures)),
            statements=self.tokenizer.encode(texts, self.config.max_tokens),
            labels=torch.tensor([one.label for one in examples]),
            keys=tuple(one.key for one in examples),
        )


def find_statements(sample: Sample) -> Usable[list[PairStatement]]:
    """Sort out the statements of a sample, without decoding its pictures."""
    fault = find_fault_beside_texts(sample)
    statements, part_fault = statements_of(sample.meta)
    if fault is None and statements and len(sample.more_images) != 1:
        fault = f"{NOT_TWO_IMAGES}: {1 + len(sample.more_images)}"
    found = leave_out_empty(
        statements,
        part_fault,
        lambda statement: clean_statement(statement.text),
        lambda statement: statement.identifier,
        empty=EMPTY_STATEMENT,
        none=say_what_is_there(NO_STATEMENT, sample, STATEMENTS),
    )
    return found if fault is None else Usable(found.sound, fault, None)
