"""Compare exported graphs with the model in torch that they are made of, kernels off."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from blip.errors import BlipError
from blip.export.exported import ExportedModel
from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from blip.nn.kernels.switch import kernels
from blip.nn.kv import ImageKV

TOLERANCE = 1e-4
"""How far numbers may be apart, as a share of the greatest where that is above 1."""
LENGTH = 9
"""Tokens of the texts that are compared, at most."""


@torch.inference_mode()
def compare(exported: ExportedModel, model: Blip) -> dict[str, float]:
    """How far each graph's numbers are from the model's, on random pixels and texts.

    A share of the greatest number, where that is above 1.
    """
    differences: dict[str, float] = {}

    def note(name: str, found: Tensor, expected: Tensor) -> None:
        apart = float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))
        # A NaN is as far as can be.
        apart = math.inf if math.isnan(apart) else apart
        differences[name] = max(differences.get(name, 0.0), apart)

    generator = torch.Generator().manual_seed(0)
    side = model.config.vision.image_size
    pixels = torch.randn(2, 3, side, side, generator=generator)
    with kernels(False):
        states = model.encode_image(pixels)
        note("image_encoder", exported.encode_pixels(pixels), states)
        if "bidirectional" in model.config.modes:
            _compare_matching(exported, model, states, note)
        if "causal" in model.config.modes:
            _compare_decoding(exported, model, states, note)
    return differences


def refuse_difference(differences: dict[str, float]) -> None:
    """Raise BlipError where a graph's numbers are farther from the model's than `TOLERANCE`."""
    name, worst = max(differences.items(), key=lambda item: item[1])
    if worst > TOLERANCE:
        raise BlipError(
            f"the graph {name} differs from the model by {worst:.1e}, more than {TOLERANCE:.0e}; "
            "nothing was written"
        )


Note = Callable[[str, Tensor, Tensor], None]


def _compare_matching(exported: ExportedModel, model: Blip, states: Tensor, note: Note) -> None:
    note("image_features", exported.image_features(states), model.image_features(states))
    ids, visible = _texts(model, 6)
    note("text_encoder", exported.text_features(ids, visible), model.text_features(ids, visible))
    kv = model.project_image(states, "bidirectional")
    _compare_kv("image_kv", exported.project_image(states, "bidirectional"), kv, note)
    logits = exported.match_logits(ids, visible, kv)
    note("matching", logits, model.match_logits(ids, visible, kv))


def _compare_decoding(exported: ExportedModel, model: Blip, states: Tensor, note: Note) -> None:
    kv = model.project_image(states, "causal")
    _compare_kv("image_kv", exported.project_image(states, "causal"), kv, note)
    ids, _ = _texts(model, 4)
    ours, other = exported.begin_decoding(kv, 2), DecodingSession(model, kv, 2)
    cut = min(2, ids.shape[1] - 1)
    for new in (ids[:, :cut], ids[:, cut : cut + 1], ids[:2, cut : cut + 1]):
        if len(new) < len(ids):
            # The second image leaves, and the rows of the first change places.
            for session in (ours, other):
                session.reorder(torch.tensor([1, 0]))
        note("decoder", ours(new), other(new))


def _compare_kv(name: str, found: ImageKV, expected: ImageKV, note: Note) -> None:
    for one, other in zip(
        (*found.keys, *found.values), (*expected.keys, *expected.values), strict=True
    ):
        note(name, one, other)


def _texts(model: Blip, count: int) -> tuple[Tensor, Tensor]:
    """Random ids of texts of different lengths, padded at the right."""
    generator = torch.Generator().manual_seed(1)
    text = model.config.text
    length = min(LENGTH, text.positions)
    ids = torch.randint(text.vocabulary_size, (count, length), generator=generator)
    lengths = torch.arange(count) % length + 1
    return ids, torch.arange(length) < lengths[:, None]
