"""The fast step equals a plain one that shares nothing with it: losses, every gradient, state."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from benchmarks.textbook import Sizes, TextbookStep
from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts, Tokenizer
from blip.model.blip import Blip
from blip.model.config import ModelConfig, Sharing
from blip.model.unimodal import UnimodalEncoders
from blip.nn import packing
from blip.nn.packing import PackedTexts, pack_texts
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast, MomentumEncoder
from blip.objectives.itm import Negatives
from blip.tasks.pretrain import PretrainStep
from tests.support.tiny import TINY
from tests.support.tiny_data import WORDS

PADDED, QUEUE, STEPS, RATE = 30, 16, 2, 0.05
SHARING: list[Sharing] = [
    "all",
    "all_but_cross_attention",
    "all_but_self_attention",
    "nothing",
]
# Wide enough for the products that a CPU leaves to oneDNN.
WIDE = replace(
    TINY,
    vision=replace(TINY.vision, width=512, depth=1, heads=8),
    text=replace(TINY.text, width=512, depth=1, heads=8, mlp_width=512),
)


def make_batch(tokenizer: Tokenizer, size: int, image_size: int) -> PairBatch:
    """Texts of 3 to 16 tokens, among them several of each length."""
    texts = [" ".join(WORDS[: 1 + (5 * row) % 14]) for row in range(size)]
    return PairBatch(
        images=torch.randn(size, 3, image_size, image_size),
        texts=tokenizer.encode(texts, PADDED),
        image_ids=torch.arange(size),
        keys=tuple(str(row) for row in range(size)),
    )


def draw(to_text: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Some images for many texts, some for none; never a pair's own."""
    row = torch.arange(len(to_text))
    return (row // 3 + 1 + row) % len(row), torch.where(row == 0, 1, 0)


def padded(texts: Texts) -> Texts:
    room = PADDED - texts.ids.shape[1]
    return Texts(*(torch.nn.functional.pad(part, (0, room)) for part in texts))


def sizes_of(config: ModelConfig) -> Sizes:
    return Sizes(
        patch=config.vision.patch_size,
        vision_heads=config.vision.heads,
        text_heads=config.text.heads,
        vision_eps=config.vision.norm_eps,
        dropout=0.0,
    )


@pytest.mark.parametrize(
    ("config", "dtype", "size"),
    [
        *((replace(TINY, sharing=sharing), torch.float64, 9) for sharing in SHARING),
        (TINY, torch.float64, 40),
        (WIDE, torch.float32, 5),
    ],
    ids=[*SHARING, "large batch", "wide"],
)
def test_both_take_the_same_steps(
    tokenizer: Tokenizer, config: ModelConfig, dtype: torch.dtype, size: int
) -> None:
    torch.manual_seed(0)
    text = replace(config.text, vocabulary_size=tokenizer.vocabulary_size)
    model = Blip(replace(config, text=text)).to(dtype).train()
    batch = make_batch(tokenizer, size, config.vision.image_size)
    batch = replace(batch, images=batch.images.to(dtype))
    textbook = TextbookStep(
        model.state_dict(), sizes_of(config), enc_id=tokenizer.enc_id, dec_id=tokenizer.dec_id
    )
    textbook.QUEUE = textbook.momentum_state.size = QUEUE
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=QUEUE))
    contrast.momentum_encoder = MomentumEncoder(UnimodalEncoders(model.config).to(dtype), model)
    queued = [normalize(torch.randn(7, config.projection), dim=1) for _ in range(2)]
    contrast.queue.push(*queued, torch.arange(7) + 1000)
    textbook.momentum_state.push(*(part.to(dtype) for part in queued))
    step = PretrainStep(
        model,
        tokenizer,
        LanguageConfig(),
        sample=lambda to_text, to_image, *_: Negatives(*draw(to_text, to_image)),
    )
    # Features and queue are float32 in the fast step, whatever the model is.
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 2e-5}
    for number in range(STEPS):
        context = contrast.context(batch, epoch=10.0)
        found = step(batch, context)
        expected = textbook.losses(batch.images, *padded(batch.texts), draw, contrast.alpha(10.0))
        torch.testing.assert_close([*found[:3]], [*expected], check_dtype=False, **close)
        found.loss.backward()
        sum(expected).backward()
        for name, parameter in model.named_parameters():
            theirs = textbook.weights[name]
            assert parameter.grad is not None, name
            assert theirs.grad is not None, name
            torch.testing.assert_close(
                parameter.grad,
                theirs.grad,
                **close,
                msg=lambda m, name=name, number=number: f"step {number}, {name}: {m}",
            )
            with torch.no_grad():
                parameter -= RATE * theirs.grad
                theirs -= RATE * theirs.grad
            parameter.grad = theirs.grad = None
        contrast.after_update(context)
        textbook.after_update()
    slow = contrast.momentum_encoder.module.state_dict()
    assert slow.keys() == textbook.momentum_state.weights.keys()
    for name, theirs in textbook.momentum_state.weights.items():
        torch.testing.assert_close(slow[name], theirs, **close)


@pytest.mark.parametrize("sharing", SHARING)
def test_rows_as_a_gpu_has_them_change_nothing(
    tokenizer: Tokenizer, sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(lengths: torch.Tensor, *, tile: int) -> PackedTexts:
        assert tile == 1
        return pack_texts(lengths, tile=packing.GPU_TILE)

    monkeypatch.setattr(packing, "pack_texts", pack)
    test_both_take_the_same_steps(tokenizer, replace(TINY, sharing=sharing), torch.float64, 9)
