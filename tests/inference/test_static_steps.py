"""Steps of fixed shapes write what decoding writes that changes its shapes, eager and compiled."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.errors import ArgumentError, NotFiniteError
from blip.generation.config import DecodingConfig
from blip.inference.decoding import decode_texts
from blip.inference.sizes import next_size
from blip.inference.static_steps import MAX_STEPS, StaticSteps, StepPool
from blip.model.blip import Blip
from blip.nn.kv import ImageKV
from tests.support.forked import run_module
from tests.support.refuse_reads import RefuseReads
from tests.support.shape_checks import unchecked_shapes
from tests.support.tiny import TINY

EOS = 2
DECODINGS = {
    "greedy": DecodingConfig(kind="greedy", max_length=18),
    "penalised": DecodingConfig(kind="greedy", max_length=18, repetition_penalty=1.5),
    "nucleus": DecodingConfig(kind="nucleus", max_length=18, top_p=0.8, temperature=1.5, top_k=20),
    "beam": DecodingConfig(kind="beam", max_length=18),
    "penalised_beam": DecodingConfig(kind="beam", beams=2, max_length=18, repetition_penalty=1.3),
}


def make_model() -> Blip:
    """Its texts end at various lengths."""
    torch.manual_seed(0)
    model = Blip(replace(TINY, text=replace(TINY.text, depth=1))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        model.language_head.bias[EOS] += 1.0
    return model


MODEL = make_model()


def make_kv(images: int, seed: int = 0) -> ImageKV:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, 32, 32, generator=generator)
    with torch.inference_mode():
        return MODEL.project_image(MODEL.encode_image(pixels), "causal")


def eager_pool() -> StepPool:
    pool = StepPool(MODEL, "on")
    pool.failed = True
    return pool


POOL = eager_pool()


def both(
    pool: StepPool, kv: ImageKV, start: list[int], config: DecodingConfig, count: int = 1
) -> tuple[list[list[int]], list[list[int]]]:
    """The texts of steps of fixed shapes, and of decoding that changes its shapes."""
    seeds = list(range(len(kv) * count))
    with torch.inference_mode():
        found, expected = (
            decode_texts(MODEL, kv, start, EOS, config, count=count, seeds=seeds, pool=one)
            for one in (pool, None)
        )
    return found, expected


EXAMPLES, PROMPTS = 40, 25
"""A thousand prompts, any mix of which is read one after the other by the same steps."""


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    name=st.sampled_from(sorted(DECODINGS)),
    images=st.integers(1, 5),
    prompts=st.lists(
        st.lists(st.integers(3, 37), min_size=0, max_size=5), min_size=PROMPTS, max_size=PROMPTS
    ),
    # Most texts end by themselves, and soon.
    shortest=st.sampled_from([0, 0, 0, 5, 12]),
    longest=st.integers(7, 18),
    seed=st.integers(0, 999),
)
def test_texts_are_the_same(
    name: str, images: int, prompts: list[list[int]], shortest: int, longest: int, seed: int
) -> None:
    config = replace(DECODINGS[name], min_length=min(shortest, longest - 1), max_length=longest)
    count = 2 if config.kind != "greedy" else 1
    kv = make_kv(images, seed)
    with unchecked_shapes():
        for prompt in prompts:
            found, expected = both(POOL, kv, [38, *prompt], config, count)
            assert found == expected


def test_fewer_images_go_on_in_a_smaller_batch() -> None:
    pool = eager_pool()
    found, expected = both(pool, make_kv(12), [38], DECODINGS["nucleus"])
    assert found == expected
    assert len({len(text) for text in found}) > 2
    sizes = [steps.images for steps in pool._made]
    assert sizes[0] == 12
    assert len(sizes) > 1


def test_sizes_are_few_and_so_are_the_steps_that_are_kept() -> None:
    assert {next_size(n) for n in range(1, 129)} == {
        *(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
    }
    assert all(next_size(n) >= n for n in range(1, 300))
    pool = eager_pool()
    for length in range(4, 4 + MAX_STEPS + 3):
        both(pool, make_kv(1), [38], DecodingConfig(kind="greedy", min_length=0, max_length=length))
    assert len(pool) == MAX_STEPS


@contextmanager
def watched_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[tuple[object, ...]]]]:
    """What the tensors of each step look like: where they are, their shapes and strides."""
    seen: list[list[tuple[object, ...]]] = []
    work = StaticSteps._work

    def watched(self: StaticSteps) -> None:
        with RefuseReads():
            work(self)
        board = [getattr(self.board, name) for name in self.board.__dataclass_fields__]
        cache = [self.cache.position, self.cache.mask, *self.cache.layers]
        kv = [*self.image_kv.keys, *self.image_kv.values]
        tensors = (*board, *cache, *kv)
        seen.append([(one.data_ptr(), one.shape, one.stride()) for one in tensors])

    monkeypatch.setattr(StaticSteps, "_work", watched)
    yield seen
    monkeypatch.undo()


@pytest.mark.parametrize("name", DECODINGS)
def test_a_step_reads_nothing_back_and_moves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(DECODINGS[name], min_length=18)
    with watched_steps(monkeypatch) as seen:
        pool = eager_pool()
        for seed in range(2):
            found, expected = both(pool, make_kv(3, seed), [38, 7], config)
            assert found == expected
    assert len(seen) == 2 * 16
    assert all(one == seen[0] for one in seen)


def test_a_compiled_step_is_one_graph_and_compiled_once(tmp_path: Path) -> None:
    # On its own: what checks shapes in the tests cannot be traced.
    said = tmp_path / "said"
    assert run_module("tests.support.compiled_decoding", said) == 0, said.read_text()


def test_decoding_goes_on_where_nothing_compiles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    found, expected = both(StepPool(MODEL, "on"), make_kv(2), [38], DECODINGS["greedy"])
    assert found == expected
    assert "decoding goes on without compiled steps: no compiler\n" in capsys.readouterr().err


def test_a_cpu_compiles_only_where_asked_to() -> None:
    assert not StepPool(MODEL).is_used
    assert not StepPool(MODEL, "off").is_used
    assert StepPool(MODEL, "on").is_used
    with pytest.raises(ArgumentError, match="compile must be auto, on or off, got 'yes'"):
        StepPool(MODEL, "yes")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", ["greedy", "nucleus", "beam"])
def test_logits_that_are_not_numbers_are_refused(kind: str) -> None:
    kv = make_kv(2)
    broken = ImageKV(tuple(key * torch.nan for key in kv.keys), kv.values)
    with torch.inference_mode(), pytest.raises(NotFiniteError):
        decode_texts(MODEL, broken, [38], EOS, replace(DECODINGS[kind]), seeds=[1, 2], pool=POOL)


def test_no_images_have_no_texts() -> None:
    assert both(POOL, make_kv(0), [38], DECODINGS["beam"]) == ([], [])
