"""A model read at another image size, against the original: positions and states."""

import pytest
import torch

from blip.errors import UsageError
from blip.model.blip import Blip
from tests.support.vectors import CLOSE, needs_vectors, tiny_model, vectors

pytestmark = needs_vectors


@torch.no_grad()
def test_positions_are_resized_and_states_follow() -> None:
    golden = vectors("resize")
    model = tiny_model("pretrain", Blip, image_size=80)
    torch.testing.assert_close(model.vision.positions, golden["pos_embed"], **CLOSE)
    torch.testing.assert_close(
        model.encode_image(golden["images"]), golden["image_embeds"], **CLOSE
    )


def test_a_size_that_the_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="is 81; allowed: a multiple of patch_size 16"):
        tiny_model("pretrain", Blip, image_size=81)
