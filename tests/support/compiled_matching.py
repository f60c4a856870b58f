"""Matches by passes that inductor compiled; fails unless the scores are those of plain matching.

A pass must be one graph, and must not be compiled again for other pictures and texts of its size.
What was compiled once must be found in torch's cache, as another process would.
"""

from dataclasses import replace

import numpy as np
import torch
from torch._dynamo.utils import counters

from blip.data.tokenizer import Tokenizer
from blip.inference.matcher import Matcher
from blip.model.blip import Blip
from tests.support.inductor import UNVECTORISED
from tests.support.tiny import TINY

WORDS = ["a", "red", "blue", "circle", "square"]
BOUND = 1e-5


def main() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train([" ".join(WORDS)], vocabulary_size=100)
    # One layer each: what takes time is the C++ compiler.
    sizes = replace(TINY.text, depth=1, vocabulary_size=tokenizer.vocabulary_size)
    vision = replace(TINY.vision, depth=1)
    model = Blip(replace(TINY, text=sizes, vision=vision)).eval()
    matcher, plain = Matcher(model, tokenizer), Matcher(model, tokenizer)
    matcher.compile("on")
    check(matcher, plain, 2, ["a red circle", "blue"])
    with torch._dynamo.config.patch(error_on_recompile=True):
        check(matcher, plain, 2, ["square", "a blue square"])
    assert not matcher._passes.failed
    assert len(matcher._passes) == 5
    torch._dynamo.reset()
    counters.clear()
    matcher.compile("on")
    read = tokenizer.encode(["a red circle", "blue"] * 2, 30)
    with torch.inference_mode():
        matcher._passes.text_features(read.ids, read.visible)
    hits = (
        counters["aot_autograd"]["autograd_cache_hit"],
        counters["inductor"]["fxgraph_cache_hit"],
    )
    assert max(hits) == 1, counters


def check(matcher: Matcher, plain: Matcher, images: int, texts: list[str]) -> None:
    random = np.random.default_rng(len(texts[0]))
    pictures = [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(images)]
    found, expected = (one.scores(pictures, [texts] * images) for one in (matcher, plain))
    assert np.allclose(found, expected, rtol=0, atol=BOUND), (found, expected)


if __name__ == "__main__":
    with UNVECTORISED:
        main()
