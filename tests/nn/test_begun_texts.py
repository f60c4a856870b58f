"""Texts that were begun go on as if each had been read whole with its image."""

from dataclasses import replace

import pytest
import torch

from blip.model.blip import Blip
from blip.nn import begun_texts
from tests.support.tiny import TINY, tiny_texts


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("together", [2, 512])
def test_begun_texts_are_those_read_whole(
    depth: int, inference: bool, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun_texts, "TEXTS_AT_A_TIME", together)
    torch.manual_seed(depth)
    model = Blip(replace(TINY, text=replace(TINY.text, depth=depth))).double().eval()
    ids, visible = tiny_texts(5)
    index = torch.tensor([4, 0, 0, 3, 1, 4])
    image_of_text = torch.tensor([1, 0, 2, 2, 1, 0])
    with torch.inference_mode(inference), torch.set_grad_enabled(False):
        image_kv = model.project_image(torch.randn(3, 5, 24).double(), "bidirectional")
        begun = model.begin_texts(ids, visible)
        found = model.match_begun(begun, index, image_kv, image_of_text)
        expected = model.match_logits(ids[index], visible[index], image_kv, image_of_text)
        assert begun.states.shape == (int(visible.sum()), TINY.text.width)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
