"""Near-duplicates by bands are those that comparing all with all finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.capfilt.filters import near
from blip.capfilt.filters.near import first_of_near


def by_all_pairs(hashes: list[int], bits: int) -> list[bool]:
    stays: list[bool] = []
    for place, value in enumerate(hashes):
        of_earlier = (h for h, stay in zip(hashes[:place], stays, strict=True) if stay)
        stays.append(not any((value ^ other).bit_count() <= bits for other in of_earlier))
    return stays


@st.composite
def clusters(draw) -> list[int]:
    """Hashes around a few centres, so that some are near."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    found = []
    for _ in range(draw(st.integers(0, 25))):
        value = draw(st.sampled_from(centres))
        for bit in draw(st.lists(st.integers(0, 63), max_size=6)):
            value ^= 1 << bit
        found.append(value)
    return found


@pytest.mark.parametrize("pairs_at_a_time", [3, 1 << 22])
@settings(max_examples=60, deadline=None)
@given(hashes=clusters(), bits=st.integers(0, 8))
def test_bands_find_what_all_pairs_find(pairs_at_a_time, hashes, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "MAX_PAIRS", pairs_at_a_time)
        found = first_of_near(np.array(hashes, np.uint64), bits)
    assert found.tolist() == by_all_pairs(hashes, bits)


def test_a_chain_does_not_drop_what_is_far_from_all_that_stays():
    hashes = np.array([0b0, 0b11, 0b1111], np.uint64)
    assert first_of_near(hashes, 2).tolist() == [True, False, True]
