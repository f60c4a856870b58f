"""How many kernels a token, a match or an encoded batch costs, read off what inductor compiled.

On a CPU inductor fuses as on a GPU, save for details; a product or an attention stays a call of a
library. Nothing here measures time.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch._inductor.utils import run_and_get_code

from blip.generation.config import DecodingConfig
from blip.inference.static_matching import PassPool
from inference import DECODINGS, Bench

TOKENS = 8
GENERATED = re.compile(r"^\s+(?:cpp|triton)_\w+\(", re.MULTILINE)
LIBRARY = re.compile(r"extern_kernels\.\w+\(|torch\.ops\.\w+\.\w+\.\w+\(")


class Kernels(NamedTuple):
    """What a compiled step calls."""

    generated: int
    """That inductor wrote."""
    library: int
    """Products and attention of a library, among other operations that inductor does not write."""


def kernels_in(code: str) -> Kernels:
    """The calls in what inductor wrote for one graph."""
    body = code[code.index("def call(") :]
    return Kernels(len(GENERATED.findall(body)), len(LIBRARY.findall(body)))


def count_compiled(bench: Bench) -> dict[str, tuple[Kernels, Kernels]]:
    """Ours and the peer's kernels for a token of each kind of decoding.

    Ours chooses the token in the step, save for the reordering of beams. Of the peer's it is the
    text decoder; what `generate` does with its logits is not compiled.
    """
    counts: dict[str, tuple[Kernels, Kernels]] = {}
    decoder = bench.peer_captioner.peer.text_decoder
    for name, decoding in DECODINGS.items():
        fixed = replace(decoding, min_length=1 + TOKENS, max_length=1 + TOKENS)
        ours = last_graph(lambda d=fixed: _write_compiled(bench, d))
        with patch.object(decoder, "forward", torch.compile(decoder.forward)):
            peer = last_graph(lambda d=fixed: bench.peer_captioner.caption(bench.images, d))
        counts[name] = ours, peer
    return counts


def count_compiled_match(bench: Bench) -> tuple[Kernels, Kernels]:
    """Ours and the peer's kernels for all texts of an image, from its states.

    Ours are two passes: keys and values of the image, then texts and head; that texts are padded
    before them is not counted. Of the peer's it is the text encoder without its head.
    """
    image, model = bench.images[:1], bench.matcher.model
    with torch.inference_mode():
        states = model.encode_image(image)
        passes = PassPool(model, "on")
        project = last_graph(lambda: passes.project_image(states))
        image_kv = model.project_image(states, "bidirectional")
        texts = bench.encoded
        match = last_graph(
            lambda: passes.match_probabilities(texts.ids, texts.visible.cpu(), image_kv)
        )
    peer, encoder = bench.peer_matcher, bench.peer_matcher.peer.text_encoder
    with patch.object(encoder, "forward", torch.compile(encoder.forward)):
        theirs = last_graph(lambda: peer.match_probabilities(states, bench.texts))
    return Kernels(*map(sum, zip(project, match, strict=True))), theirs


def count_compiled_encode(bench: Bench) -> tuple[Kernels, Kernels]:
    """Ours and the peer's kernels for a batch of images."""
    images, encoder = bench.images, bench.peer_captioner.peer.vision_model
    with torch.inference_mode():
        ours = last_graph(lambda: PassPool(bench.captioner.model, "on").encode(images))
        with patch.object(encoder, "forward", torch.compile(encoder.forward)):
            theirs = last_graph(lambda: encoder(images))
    return ours, theirs


def _write_compiled(bench: Bench, decoding: DecodingConfig) -> None:
    bench.captioner.compile("on")
    try:
        bench.write(decoding)
    finally:
        bench.captioner.compile("off")


def last_graph(work: Callable[[], Any]) -> Kernels:
    """Of the graphs that `work` has compiled, the last: the others read the prompt."""
    torch._dynamo.reset()
    codes = run_and_get_code(work)[1]
    return kernels_in(codes[-1])
