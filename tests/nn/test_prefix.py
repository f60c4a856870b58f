"""Texts after a prefix: computed together, alone, or as one sequence, they are the same."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blip.model.dialogue import DialogueModel
from blip.nn.kv import ImageKV
from blip.nn.packing import pack_texts
from tests.support.tiny import TINY, tiny_texts


@pytest.fixture
def model() -> DialogueModel:
    torch.manual_seed(0)
    model = DialogueModel(replace(TINY, architecture="visdial")).double().eval()
    for layer in model.text.layers:
        read = layer.cross_attention.select("bidirectional").read
        torch.nn.init.normal_(read.key_value.weight, std=1.5)
    return model


def image_kv(model: DialogueModel, images: int) -> ImageKV:
    torch.manual_seed(1)
    pixels = torch.randn(images, 3, 32, 32).double()
    return model.project_with_captions(model.encode_image(pixels), *tiny_texts(images, 5))


def one_sequence(model: DialogueModel, prefix: Tensor, text: Tensor, kv: ImageKV) -> Tensor:
    """Logits of a text after a prefix, as one sequence with a mask written out."""
    ids, before = torch.cat([prefix, text]), len(prefix)
    visible = torch.ones(len(ids), len(ids), dtype=torch.bool)
    visible[:before, before:] = False
    embedding = model.text.embedding.select("bidirectional")
    hidden = embedding(ids[None])[0]
    rows = pack_texts(torch.tensor([len(ids)])).rows
    for index, layer in enumerate(model.text.text_layers()):
        attention = layer.self_attention.select("bidirectional")
        hidden = attention(hidden, rows, visible[None, None], causal=False)
        hidden = layer.after_self_attention(hidden, "bidirectional", kv.layer(index))
    return model.matching_head(hidden[before])


@torch.no_grad()
def test_texts_after_a_prefix_are_read_as_one_sequence_with_it(model: DialogueModel) -> None:
    kv = image_kv(model, 3)
    prefixes, answers = tiny_texts(3, 9), tiny_texts(7, 6)
    of = torch.tensor([2, 0, 0, 1, 2, 2, 0])
    found = model.answer_logits(*answers, model.encode_dialogues(*prefixes, kv), kv, of)
    for row, number in enumerate(of.tolist()):
        prefix = prefixes[0][number][prefixes[1][number]]
        text = answers[0][row][answers[1][row]]
        alone = one_sequence(model, prefix, text, kv.select(torch.tensor([number])))
        torch.testing.assert_close(found[row], alone)
    assert found.std() > 1e-3


@torch.no_grad()
def test_a_text_does_not_depend_on_its_neighbours(model: DialogueModel) -> None:
    kv = image_kv(model, 2)
    dialogues = tiny_texts(2, 9)
    ids, visible = tiny_texts(6, 6)
    together = model.answer_logits(ids, visible, model.encode_dialogues(*dialogues, kv), kv)
    for row in range(6):
        only = torch.tensor([row // 3])
        of_one = kv.select(only)
        dialogue = model.encode_dialogues(*(part[only] for part in dialogues), of_one)
        alone = model.answer_logits(ids[row : row + 1], visible[row : row + 1], dialogue, of_one)
        torch.testing.assert_close(together[row : row + 1], alone)


@torch.no_grad()
def test_a_decoder_reads_the_states_of_the_prefix_and_not_its_padding(
    model: DialogueModel,
) -> None:
    kv = image_kv(model, 2)
    ids, visible = tiny_texts(2, 9)
    answers, seen = tiny_texts(2, 5)
    both = model.project_dialogues(model.encode_dialogues(ids, visible, kv))
    logits = model.language_logits(answers, seen, both)
    for row in range(2):
        only, length = torch.tensor([row]), int(visible[row].sum())
        short = ids[row : row + 1, :length], visible[row : row + 1, :length]
        alone = model.project_dialogues(model.encode_dialogues(*short, kv.select(only)))
        found = model.language_logits(answers[row : row + 1], seen[row : row + 1], alone)
        torch.testing.assert_close(logits[row][seen[row]], found[0][seen[row]])
