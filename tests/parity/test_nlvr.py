"""NLVR2 against the original: logits and loss; a MED's weights read into the model for pairs."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from blip.data.examples.statements import StatementBatch
from blip.inference.comparer import Comparer
from blip.model.checkpoint.from_med import fill
from blip.model.checkpoint.original import (
    encoder_layout,
    from_original,
    names_of,
    to_original,
    vision_layout,
)
from blip.model.config import ModelConfig
from blip.model.pair import PairModel
from blip.tasks.nlvr import NlvrStep
from tests.support.vectors import (
    CLOSE,
    encoded,
    needs_vectors,
    texts,
    tiny_config,
    tiny_model,
    tokenizer,
    vectors,
    weights,
)

pytestmark = needs_vectors


@torch.no_grad()
def test_logits_and_loss_of_statements() -> None:
    golden = vectors("nlvr")
    model = tiny_model("nlvr", PairModel)
    # The left images come first, then the right ones.
    left, right = model.encode_image(golden["images"]).chunk(2)
    statements = encoded(texts()["nlvr.statements"], tokenizer().enc_id)
    logits = model.truth_logits(
        statements.ids, statements.visible, model.project_pairs(left, right)
    )
    torch.testing.assert_close(logits, golden["logits"], **CLOSE)
    torch.testing.assert_close(cross_entropy(logits, golden["targets"]), golden["loss"], **CLOSE)


def test_training_loss_and_gradients() -> None:
    golden, model, words = vectors("nlvr"), tiny_model("nlvr", PairModel), tokenizer()
    statements = texts()["nlvr.statements"]
    batch = StatementBatch(
        images=golden["images"],
        statements=words.encode(statements, 40),
        labels=golden["targets"].bool(),
        keys=("",) * len(statements),
    )
    output = NlvrStep(model, words)(batch)
    torch.testing.assert_close(output.loss.detach(), golden["loss"], **CLOSE)
    right = golden["logits"].argmax(dim=1) == golden["targets"]
    assert float(output.accuracy) == pytest.approx(float(right.float().mean()))
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    found = to_original(names_of("nlvr", model.config), gradients)
    expected = {k.removeprefix("grad."): v for k, v in golden.items() if k.startswith("grad.")}
    assert any("merge" in name for name in expected)
    for theirs, gradient in expected.items():
        torch.testing.assert_close(found[theirs], gradient, **CLOSE, msg=theirs)


def test_judgements_are_those_of_the_original() -> None:
    golden, model, words = vectors("nlvr"), tiny_model("nlvr", PairModel), tokenizer()
    left, right = map(list, golden["images"].chunk(2))
    statements = [[one] for one in texts()["nlvr.statements"]]
    judged = [one for (one,) in Comparer(model, words).judge(left, right, statements)]
    expected = golden["logits"].softmax(dim=1)[:, 1].tolist()
    assert [one.probability for one in judged] == pytest.approx(expected, rel=1e-4)
    assert [one.is_true for one in judged] == golden["logits"].argmax(dim=1).bool().tolist()


def test_a_plain_model_fills_all_but_what_pairs_need() -> None:
    config = tiny_config(weights("nlvr"))
    med = weights("base8")
    depth = config.text.depth
    layout = vision_layout(config.vision.depth) | encoder_layout(depth)
    model = PairModel(config)
    missing = fill(model, from_original(layout, med))
    layout = names_of("nlvr", config).tensors
    fresh = sorted(name for ours in missing for name in layout[ours])
    assert fresh == texts()["nlvr_from_base8.missing"]
    check_both_sides_start_alike(model, config, med)


def check_both_sides_start_alike(
    model: PairModel, config: ModelConfig, med: dict[str, torch.Tensor]
) -> None:
    state = model.state_dict()
    sides = [name for name in state if ".left." in name]
    assert len(sides) == 6 * config.text.depth
    for name in sides:
        assert torch.equal(state[name], state[name.replace(".left.", ".right.")])
    for layer in range(config.text.depth):
        theirs = f"text_encoder.encoder.layer.{layer}.crossattention"
        for side in ("left", "right"):
            ours = f"text.layers.{layer}.cross_attention.copies.both.{side}"
            query, key_value = state[f"{ours}.query.weight"], state[f"{ours}.key_value.weight"]
            assert torch.equal(query, med[f"{theirs}.self.query.weight"])
            assert torch.equal(key_value[: len(query)], med[f"{theirs}.self.key.weight"])
            assert torch.equal(key_value[len(query) :], med[f"{theirs}.self.value.weight"])
            output = state[f"{ours}.output.weight"]
            assert torch.equal(output, med[f"{theirs}.output.dense.weight"])
