"""Batches of the tasks that start from a MED, made of a batch of pairs."""

import torch

from blip.data.examples.dialogues import DialogueBatch
from blip.data.examples.pairs import PairBatch
from blip.data.examples.questions import QuestionBatch
from blip.data.examples.statements import StatementBatch
from blip.data.tokenizer import Tokenizer


def question_batch(pairs: PairBatch, tokenizer: Tokenizer) -> QuestionBatch:
    """The texts as questions; the first has two answers."""
    asked = torch.tensor([0, *range(len(pairs))])
    answers = tokenizer.encode(["a red circle"] * len(asked), 30)
    weights = torch.ones(len(asked))
    return QuestionBatch(pairs.images, pairs.texts, answers, asked, weights, pairs.keys)


def statement_batch(pairs: PairBatch) -> StatementBatch:
    """The texts as statements about two times the same picture, true and false in turn."""
    both = torch.cat([pairs.images, pairs.images])
    return StatementBatch(both, pairs.texts, torch.arange(len(pairs)) % 2 == 0, pairs.keys)


def dialogue_batch(pairs: PairBatch, tokenizer: Tokenizer) -> DialogueBatch:
    """The texts as captions and as dialogues, each with a true answer and a false one."""
    answers = tokenizer.encode(["one big star", "grey"] * len(pairs), 9)
    return DialogueBatch(
        pairs.images,
        pairs.texts,
        pairs.texts,
        answers,
        torch.arange(len(pairs)).repeat_interleave(2),
        torch.tensor([True, False] * len(pairs)),
        pairs.keys,
    )
