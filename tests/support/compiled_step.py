"""Takes steps plainly, and compiled in DDP; fails unless losses and gradients are the same."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.nn.kernels.packed_weight import pack_weights, unpack_weights
from blip.train.config import TrainConfig
from blip.train.parallelize import parallelize
from tests.support.pretrain_step import assert_same_gradients, make_step, take_step
from tests.support.tiny_data import WORDS


def graph_of_image_layer(graph: torch.fx.GraphModule) -> bool:
    """Whether it has stochastic depth, and so a gradient, and attention."""
    called = {getattr(node.target, "__name__", "") for node in graph.graph.nodes}
    return {"rand", "scaled_dot_product_attention"} <= called


def compare_steps(*, recomputed: bool) -> None:
    compiled: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., object]:
        compiled.append(graph)
        return graph.forward

    # What is traced is the question; what inductor makes of it takes minutes on a CPU.
    compiler = partial(torch.compile, backend=backend)
    tokenizer = Tokenizer.train([" ".join(WORDS)] * 3, vocabulary_size=200)
    texts = tokenizer.encode(["a red circle", "one big green star", "blue", "stripes"], 30)
    batch = PairBatch(torch.randn(4, 3, 32, 32), texts, torch.arange(4), tuple("abcd"))
    loss, gradients, _ = take_step(*make_step(tokenizer), batch)
    step, contrast = make_step(tokenizer)
    names = list(step.state_dict())
    with patch.object(torch, "compile", compiler):
        config = TrainConfig(steps=1, compile=True, recompute=recomputed)
        parallelize(step, [contrast.momentum_encoder.module], config, torch.device("cpu"))
    # In one process, too, gradients are gathered in buckets, which may be smaller than a layer.
    distributed = DistributedDataParallel(step, bucket_cap_mb=0.001)
    again, found, _ = take_step(distributed, contrast, batch)
    found = {name.removeprefix("module."): gradient for name, gradient in found.items()}
    assert any(graph_of_image_layer(graph) for graph in compiled)
    assert list(step.state_dict()) == names
    torch.testing.assert_close(again, loss)
    assert_same_gradients(found, gradients)
    # Other lengths: what was compiled for some serves all.
    count = len(compiled)
    longer = replace(batch, texts=tokenizer.encode([" ".join(WORDS[:n]) for n in (3, 9, 2, 7)], 30))
    take_step(step, contrast, longer)
    assert len(compiled) == count, f"{len(compiled) - count} more for texts of other lengths"
    # Weights that an evaluation packed and unpacked are the same to the compiler.
    pack_weights(step)
    unpack_weights(step)
    take_step(step, contrast, longer)
    assert len(compiled) == count, f"{len(compiled) - count} more after an evaluation"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        init_process_group("gloo", init_method=store, rank=0, world_size=1)
        for recomputed in (False, True):
            torch.compiler.reset()
            compare_steps(recomputed=recomputed)
        destroy_process_group()
