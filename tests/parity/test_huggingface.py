"""The published base size and layers against transformers, with random weights, no download."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from blip import load
from blip.data.tokenizer import Tokenizer
from blip.generation.beam import beam_search
from blip.generation.config import DecodingConfig
from blip.generation.greedy import greedy
from blip.inference.convert import convert
from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from blip.model.question import QuestionModel
from tests.support.huggingface import DEEP_SIZES, SHALLOW_SIZES, random_peer

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
DEC, SEP = 30522, 102
LONGEST = 12
KINDS = ("caption", "itm", "vqa")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As large as BERT's, with its special tokens at their places."""
    words = [f"word{n}" for n in range(30522)]
    for place, word in {
        0: "[PAD]",
        100: "[UNK]",
        101: "[CLS]",
        102: "[SEP]",
        103: "[MASK]",
    }.items():
        words[place] = word
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(words) + "\n")
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], tuple[Any, Path]]:
    """A model of transformers by kind and depth, and the folder where it lies; drawn once."""

    @cache
    def save(kind: str, deep: bool) -> tuple[Any, Path]:
        peer = random_peer(kind, DEEP_SIZES if deep else SHALLOW_SIZES)
        folder = tmp_path_factory.mktemp("peer")
        peer.save_pretrained(folder)
        return peer, folder

    return save


def pictures(count: int, side: int = 384) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def texts(rows: int, start: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1000, 30000, (rows, 9), generator=generator)
    lengths = torch.tensor([9, 6, 7, 4][:rows])
    visible = torch.arange(9) < lengths[:, None]
    ids[:, 0] = start
    ids[torch.arange(rows), lengths - 1] = SEP
    return ids.masked_fill(~visible, 0), visible


def peer_rows(generated: Tensor, start: int) -> list[list[int]]:
    """Generated ids behind the first `start`, up to the end token."""
    rows = []
    for row in generated[:, start:].tolist():
        rows.append(row[: row.index(SEP)] if SEP in row else [i for i in row if i != 0])
    return rows


@torch.inference_mode()
@pytest.mark.parametrize(
    ("kind", "deep"),
    # All kinds have the same towers: one whole depth will do, and the widths are those of all.
    [("caption", False), ("itm", True), ("vqa", False)],
    ids=KINDS,
)
def test_same_outputs(
    kind: str, deep: bool, vocabulary: Path, saved: Callable[[str, bool], tuple[Any, Path]]
) -> None:
    peer, folder = saved(kind, deep)
    ours: Any = load(folder, tokenizer=vocabulary).model
    match kind:
        case "caption":
            check_captions(peer, ours)
        case "itm":
            check_matching(peer, ours)
        case "vqa":
            check_answers(peer, ours)


def check_captions(peer: Any, ours: Blip) -> None:
    images = pictures(2)
    ids, visible = texts(2, DEC)
    states = ours.encode_image(images)
    image_kv = ours.project_image(states, "causal")
    theirs = peer(pixel_values=images, input_ids=ids, attention_mask=visible.long())
    torch.testing.assert_close(states, theirs.image_embeds, **CLOSE)
    logits = ours.language_logits(ids, visible, image_kv)
    torch.testing.assert_close(logits[visible], theirs.logits[visible], **CLOSE)
    prompt = torch.full((2, 1), DEC)
    greedy_decoding = DecodingConfig(kind="greedy", min_length=5, max_length=LONGEST)
    found = greedy(DecodingSession(ours, image_kv), prompt, SEP, greedy_decoding)
    expected = peer.generate(pixel_values=images, min_length=5, max_length=LONGEST)
    assert found == peer_rows(expected, 1)
    beam = DecodingConfig(kind="beam", beams=3, min_length=5, max_length=LONGEST)
    session = DecodingSession(ours, image_kv, copies=3)
    expected = peer.generate(pixel_values=images, num_beams=3, min_length=5, max_length=LONGEST)
    assert beam_search(session, prompt, SEP, beam) == peer_rows(expected, 1)


def check_matching(peer: Any, ours: Blip) -> None:
    images = pictures(2, ours.config.vision.image_size)
    # transformers starts the grounded text with [CLS]; the weights do not mind.
    ids, visible = texts(2, 101)
    states = ours.encode_image(images)
    logits = ours.match_logits(ids, visible, ours.project_image(states, "bidirectional"))
    theirs = peer(pixel_values=images, input_ids=ids, attention_mask=visible.long())
    torch.testing.assert_close(logits, theirs.itm_score, **CLOSE)
    cosine = ours.image_features(states) @ ours.text_features(ids, visible).T
    theirs = peer(
        pixel_values=images, input_ids=ids, attention_mask=visible.long(), use_itm_head=False
    )
    torch.testing.assert_close(cosine, theirs.itm_score, **CLOSE)


def check_answers(peer: Any, ours: QuestionModel) -> None:
    images = pictures(2)
    ids, visible = texts(2, 101)
    # Its `generate` looks at padding, too: questions of one length have none.
    ids, visible = ids[:, :4].contiguous(), visible[:, :4].contiguous()
    questions = ours.read_questions(ids, visible, ours.encode_image(images))
    answers = torch.tensor([[DEC, 2000, 3000], [DEC, 4000, 5000]])
    logits = ours.language_logits(answers, torch.ones_like(answers, dtype=torch.bool), questions)
    question_states = peer.text_encoder(
        input_ids=ids,
        attention_mask=visible.long(),
        encoder_hidden_states=peer.vision_model(pixel_values=images).last_hidden_state,
    ).last_hidden_state
    theirs = peer.text_decoder(
        input_ids=answers,
        encoder_hidden_states=question_states,
        encoder_attention_mask=visible.long(),
    )
    torch.testing.assert_close(logits, theirs.logits, **CLOSE)
    decoding = DecodingConfig(kind="beam", beams=3, min_length=1, max_length=8)
    session = DecodingSession(ours, questions, copies=3)
    expected = peer.generate(
        input_ids=ids, pixel_values=images, num_beams=3, min_length=1, max_length=8
    )
    found = beam_search(session, torch.full((2, 1), DEC), SEP, decoding)
    assert found == peer_rows(expected, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_converted_back_it_is_what_it_was(
    kind: str,
    vocabulary: Path,
    tmp_path: Path,
    saved: Callable[[str, bool], tuple[Any, Path]],
) -> None:
    peer, folder = saved(kind, False)
    convert(folder, tmp_path / "ours", "blip", tokenizer=vocabulary)
    convert(tmp_path / "ours", tmp_path / "theirs", "hf")
    again, loading = type(peer).from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(loading.values()), loading
    before, after = peer.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for part in ("text_config", "vision_config"):
        ours, theirs = (getattr(model.config, part).to_dict() for model in (again, peer))
        same = ("hidden_size", "num_attention_heads", "layer_norm_eps", "bos_token_id")
        assert {k: ours.get(k) for k in same} == {k: theirs.get(k) for k in same}
    check_processor(tmp_path / "theirs", Tokenizer.load(vocabulary))


def check_processor(folder: Path, ours: Tokenizer) -> None:
    import transformers

    from blip.inference.pixels import to_pixels

    processor = transformers.BlipProcessor.from_pretrained(folder)
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    read = processor(images=picture, text="Word7 word12 nothing", return_tensors="pt")
    assert (
        read["input_ids"][0].tolist() == ours.encode(["word7 word12 nothing"], 35).ids[0].tolist()
    )
    pixels = to_pixels([picture], 384, torch.device("cpu"))
    torch.testing.assert_close(read["pixel_values"], pixels, rtol=0, atol=0.02)
