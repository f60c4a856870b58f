"""Pictures are decoded a batch ahead, in order, and errors are those of the reader."""

import threading

import pytest

from blip.capfilt.models.protocols import Models
from blip.capfilt.stages.pictures import open_batches
from blip.data.images import LARGE, count_pixels
from blip.data.sample import Sample
from tests.support.capfilt import FakeCaptioner, FakeFilter, picture

MODELS = Models(FakeCaptioner(), FakeFilter())


def samples(count: int):
    for number in range(count):
        content = b"broken" if number == 3 else picture("red")
        yield Sample(f"{number}", content, ("red",))


@pytest.mark.parametrize(("size", "decoders"), [(1, 4), (2, 4), (5, 1), (100, 16)])
def test_all_samples_come_in_their_order(size, decoders):
    batches = list(open_batches(samples(7), size, MODELS, decoders))
    opened = [one for batch in batches for one in batch.samples]
    assert [one.sample.key for one in opened] == [f"{number}" for number in range(7)]
    assert all(len(batch.samples) <= size for batch in batches)
    assert [one.fault for one in opened] == [None, None, None, "not_an_image", None, None, None]
    for of_model, side in (("for_captioner", 8), ("for_filter", 16)):
        pictures = [one for batch in batches for one in getattr(batch, of_model)]
        assert [one.shape for one in pictures] == [(3, side, side)] * 6


def test_the_next_batch_is_read_while_this_one_is_worked_on():
    read = [threading.Event() for _ in range(6)]

    def noting():
        for number, sample in enumerate(samples(6)):
            read[number].set()
            yield sample

    batches = open_batches(noting(), 2, MODELS)
    next(batches)
    # Nobody has asked for the second batch, and it comes all the same; the third does not.
    assert read[3].wait(30)
    batches.close()
    assert not read[4].is_set()


def test_what_the_reader_raises_comes_out_behind_what_it_gave():
    def torn():
        yield from samples(2)
        raise OSError("gone")

    batches = open_batches(torn(), 2, MODELS)
    assert len(next(batches).samples) == 2
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_the_largest_picture_is_a_choice():
    contents = [Sample("small", picture("red", size=8)), Sample("large", picture("red", size=9))]
    (batch,) = open_batches(iter(contents), 2, MODELS, max_pixels=64)
    small, large = batch.samples
    assert (small.fault, large.fault) == (None, "too_many_pixels")


def test_pixels_are_counted_by_the_header():
    assert count_pixels(picture("red", size=24)) == 24 * 24
    assert count_pixels(picture("red", size=24)[:60]) == 24 * 24 < LARGE
    assert count_pixels(b"<html>") == 0
