"""The formula of a step's operations, beside what torch counts while it runs one."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts, Tokenizer
from blip.model.blip import Blip
from blip.model.checkpoint.from_med import start_dialogues, start_pairs, start_questions
from blip.model.config import ModelConfig, Sharing, TextConfig, VisionConfig
from blip.model.operations import Operations
from blip.nn.mode import BOTH_MODES
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.tasks.caption import CaptionStep
from blip.tasks.nlvr import NlvrStep
from blip.tasks.pretrain import PretrainStep
from blip.tasks.retrieval import RetrievalStep
from blip.tasks.visdial import DialogueStep
from blip.tasks.vqa import VqaStep
from tests.support.task_batches import dialogue_batch, question_batch, statement_batch

TEXT = "one big green star on grey ground"
DEEP = ModelConfig(
    vision=VisionConfig(image_size=32, patch_size=8, width=24, depth=6, heads=3),
    text=TextConfig(
        vocabulary_size=40, width=16, depth=6, heads=2, mlp_width=32, positions=32, dropout=0.0
    ),
    projection=8,
)
"""Of several layers: what a step saves in the last one alone is a small part."""


def counted(run) -> float:
    counter = FlopCounterMode(display=False)
    # The plain kernel is made of products that are counted.
    with counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return float(counter.get_total_flops())


def make(tokenizer: Tokenizer, sharing: Sharing = "all_but_self_attention") -> Blip:
    text = replace(DEEP.text, vocabulary_size=tokenizer.vocabulary_size)
    return Blip(replace(DEEP, text=text, sharing=sharing)).train()


def batch_of(tokenizer: Tokenizer, size: int = 4) -> PairBatch:
    """Texts of one length, so that there is no padding to compute."""
    texts = tokenizer.encode([TEXT] * size, 30)
    assert texts.visible.all()
    ids = torch.arange(size)
    return PairBatch(torch.randn(size, 3, 32, 32), texts, ids, ("",) * size)


def test_parts_are_counted_alike(tokenizer: Tokenizer) -> None:
    model, batch = make(tokenizer), batch_of(tokenizer)
    parts, (ids, visible) = Operations(model.config), batch.texts
    size, length = ids.shape
    with torch.no_grad():
        states = model.encode_image(batch.images)
        image_kv = model.project_image(states, "bidirectional")
        found = counted(lambda: model.encode_image(batch.images))
        assert found == size * (parts.patches + parts.image)
        assert counted(lambda: model.project_image(states, "causal")) == size * parts.image_kv
        found = counted(lambda: model.encode_text(ids, visible))
        assert found == size * parts.text(length, grounded=False, first=False)
        found = counted(lambda: model.text.first_states(ids, visible))
        assert found == size * parts.text(length, grounded=False, first=True)
        found = counted(lambda: model.text.first_states(ids, visible, image_kv=image_kv))
        assert found == size * parts.text(length, grounded=True, first=True)
        found = counted(lambda: model.language_logits(ids, visible, image_kv))
        assert found == size * (parts.text(length, grounded=True, first=False)) + parts.words(
            size * length
        )
        text = model.text.first_states(ids, visible)
        found = counted(lambda: (model.image_features(states), model.text_projection(text)))
        assert found == size * parts.features()


@pytest.mark.parametrize("sharing", ["all_but_self_attention", "nothing"])
def test_a_pretraining_step(tokenizer: Tokenizer, sharing: Sharing) -> None:
    model, batch = make(tokenizer, sharing), batch_of(tokenizer)
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=16))
    for _ in range(4):
        contrast.queue.push(torch.randn(4, 8), torch.randn(4, 8), torch.arange(4))
    step = PretrainStep(model, tokenizer, LanguageConfig())
    found = counted(lambda: step(batch, contrast.context(batch, 0.0)).loss.backward())
    formula = step.operations(batch) + contrast.operations(batch)
    assert found == pytest.approx(formula, rel=0.03)


def test_a_retrieval_step(tokenizer: Tokenizer) -> None:
    model, batch = make(tokenizer), batch_of(tokenizer)
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=0))
    step = RetrievalStep(model, tokenizer)
    found = counted(lambda: step(batch, contrast.context(batch, 0.0)).loss.backward())
    formula = step.operations(batch) + contrast.operations(batch)
    assert found == pytest.approx(formula, rel=0.03)


def test_a_captioning_step(tokenizer: Tokenizer) -> None:
    model, batch = make(tokenizer), batch_of(tokenizer)
    step = CaptionStep(model, tokenizer, LanguageConfig(), prompt="one big ")
    assert step.prompt_tokens == 2
    found = counted(lambda: step(batch).loss.backward())
    assert found == pytest.approx(step.operations(batch), rel=0.03)


def test_a_step_of_questions(tokenizer: Tokenizer) -> None:
    model, _ = start_questions(make(tokenizer))
    batch = question_batch(batch_of(tokenizer), tokenizer)
    step = VqaStep(model.train(), tokenizer, LanguageConfig())
    found = counted(lambda: step(batch).loss.backward())
    assert found == pytest.approx(step.operations(batch), rel=0.03)


@pytest.mark.parametrize("depth", [6, 8])
def test_a_step_of_statements(tokenizer: Tokenizer, depth: int) -> None:
    """With two merge layers, and without any."""
    config = make(tokenizer).config
    deep = replace(config, text=replace(config.text, depth=depth))
    model, _ = start_pairs(Blip(deep))
    batch = statement_batch(batch_of(tokenizer))
    step = NlvrStep(model.train(), tokenizer)
    found = counted(lambda: step(batch).loss.backward())
    assert found == pytest.approx(step.operations(batch), rel=0.03)


def test_padding_is_not_counted(tokenizer: Tokenizer) -> None:
    model = make(tokenizer)
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=0))
    step = PretrainStep(model, tokenizer, LanguageConfig())

    def count(texts: Texts) -> float:
        images, ids = torch.zeros(len(texts.ids), 3, 32, 32), torch.arange(len(texts.ids))
        batch = PairBatch(images, texts, ids, ("",) * len(ids))
        return step.operations(batch) + contrast.operations(batch)

    short, long = count(tokenizer.encode(["a red circle"], 30)), count(tokenizer.encode([TEXT], 30))
    # The pairs of a batch are candidates for one another: that is little.
    together = count(tokenizer.encode(["a red circle", TEXT], 30))
    assert together == pytest.approx(short + long, rel=1e-3)
    assert short < long


@pytest.mark.parametrize(
    ("sharing", "pretraining"),
    [
        ("all", 791159101440),
        ("all_but_cross_attention", 858087610368),
        ("all_but_self_attention", 791159101440),
        ("nothing", 858087610368),
    ],
)
def test_the_numbers_of_vit_b_and_bert_base(
    tokenizer: Tokenizer, sharing: Sharing, pretraining: int
) -> None:
    """Four texts of these lengths: what is logged as teraflops stays comparable over versions."""
    lengths = torch.tensor([3, 7, 12, 30])
    visible = torch.arange(30) < lengths[:, None]
    texts = Texts(visible.long(), visible)
    batch = PairBatch(torch.zeros(4, 3, 224, 224, device="meta"), texts, torch.arange(4), ())
    with torch.device("meta"):
        model = Blip(ModelConfig(sharing=sharing))
        contrast = MomentumContrast(model, ContrastiveConfig(queue_size=57600))
        step = PretrainStep(model, tokenizer, LanguageConfig())
        assert step.operations(batch) + contrast.operations(batch) == pretraining
        filtering = RetrievalStep(model, tokenizer)
        assert filtering.operations(batch) + contrast.operations(batch) == 752066820096
        captioning = CaptionStep(model, tokenizer, LanguageConfig(), prompt="")
        assert captioning.operations(batch) == 526609391616
        captioning.prompt_tokens = 4
        assert captioning.operations(batch) == 524590682112


@pytest.mark.parametrize("language", [None, LanguageConfig()])
def test_a_step_for_dialogues_is_counted_as_torch_does(
    tokenizer: Tokenizer, language: LanguageConfig | None
) -> None:
    modes = BOTH_MODES if language else BOTH_MODES[:1]
    model, _ = start_dialogues(make(tokenizer), modes, 64)
    step = DialogueStep(model.train(), tokenizer, language)
    batch = dialogue_batch(batch_of(tokenizer), tokenizer)
    found = counted(lambda: step(batch).loss.backward())
    # Torch also counts what an answer is kept from seeing of another. Without a decoder nothing
    # reads the last states of a dialogue, which have no gradient then.
    assert 0.9 < step.operations(batch) / found < 1.02
