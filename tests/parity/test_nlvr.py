"""NLVR2 against the original: logits and loss; a MED's weights read into the model for pairs."""

import torch
from torch.nn.functional import cross_entropy

from blip.model.checkpoint.from_med import fill
from blip.model.checkpoint.original import encoder_layout, from_original, names_of, vision_layout
from blip.model.config import ModelConfig
from blip.model.pair import PairModel
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
