"""Decodes by steps that inductor compiled; fails unless the texts are those of plain decoding.

A step must be one graph, and must not be compiled again for other pictures or prompts.
"""

from dataclasses import replace

import torch

from blip.generation.config import DecodingConfig
from blip.inference.decoding import decode_texts
from blip.inference.static_steps import StepPool
from blip.model.blip import Blip
from tests.support.inductor import UNVECTORISED
from tests.support.tiny import TINY

EOS = 2
CONFIG = DecodingConfig(kind="beam", min_length=14, max_length=16)
"""It reads, writes and reorders most, and finds out about the smallest errors of the cache."""


def main() -> None:
    torch.manual_seed(0)
    # One layer: what takes time is the C++ compiler.
    model = Blip(replace(TINY, text=replace(TINY.text, depth=1))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    pool = StepPool(model, "on")
    check(model, pool, [38])
    with torch._dynamo.config.patch(error_on_recompile=True):
        check(model, pool, [38, 7, 8])
    assert not pool.failed
    assert len(pool) == 1


@torch.inference_mode()
def check(model: Blip, pool: StepPool, start: list[int]) -> None:
    states = model.encode_image(torch.randn(2, 3, 32, 32))
    kv = model.project_image(states, "causal")
    found, expected = (
        decode_texts(model, kv, start, EOS, CONFIG, count=2, pool=one) for one in (pool, None)
    )
    assert found == expected, (found, expected)


if __name__ == "__main__":
    with UNVECTORISED:
        main()
