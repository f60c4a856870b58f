"""The count of launches runs, and counts what can be counted by hand."""

import importlib
import json
from typing import Any

import pytest

from tests.support.benchmarks import BENCHMARKS, run_small

LAYERS = 2
"""Of the tiny models, image encoder and text transformer alike."""
OF_IMAGE_LAYER = {"linear": 4, "norm": 2, "attention": 1, "gelu": 1, "add": 2}
OF_DECODED_TOKEN = {"linear": 6, "norm": 3, "attention": 2, "gelu": 1, "cache": 1}
"""Of a layer of the text transformer, whose output products add to the residual."""


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    pytest.importorskip("transformers")
    return json.loads(run_small("launches").splitlines()[-1])


def test_launches_are_those_that_a_hand_counts(result: dict[str, Any]) -> None:
    # Patches are cut out and projected; then class token, positions and the last norm.
    encoder = LAYERS * sum(OF_IMAGE_LAYER.values()) + 2 + 3
    assert result["launches"]["encode"]["ours"] == encoder
    greedy = result["launches"]["caption_greedy"]["ours"]
    # Beyond the layers: embedding, head, penalties, choice. The cache grows once in ten steps.
    beyond = greedy - LAYERS * sum(OF_DECODED_TOKEN.values())
    assert 10 < beyond < 20


def test_ratios_are_ours_over_the_peers(result: dict[str, Any]) -> None:
    assert all(result["same_results"].values())
    for name, found in result["launches"].items():
        assert result["more_ratios"][name] == pytest.approx(found["ours"] / found["peer"], rel=0.01)
    ratios = result["more_ratios"]
    worst = max(ratio for name, ratio in ratios.items() if name.startswith("caption_"))
    assert result["ratios"] == {
        "eager_per_token": worst,
        "eager_per_match": ratios["match"],
        "eager_per_encode": ratios["encode"],
    }


def test_only_choosing_tokens_makes_the_host_wait(result: dict[str, Any]) -> None:
    reads = {name: found["ours"] for name, found in result["host_reads"].items()}
    assert reads["encode"] == 0
    assert reads["caption_greedy"] == 2, "is it a number, and which token"


CODE = """
cpp_fused_gelu_view_4 = async_compile.cpp_pybinding(['float*'])

    def call(self, args):
        cpp_fused_add_embedding_0(arg1_1, buf0)
        del arg4_1
        extern_kernels.addmm(arg8_1, reinterpret_tensor(buf3, (4, 32), (32, 1), 0), out=buf4)
        # Original ATen: [aten.view, aten.addmm]
        assert_size_stride(buf8, (4, 2), (2, 1), 'torch.ops.aten.mm.default')
        buf7 = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default(buf4, buf5)
        cpp_fused_gelu_view_4(buf25)
        cpp_fused_gelu_view_4(buf26)
"""


def test_compiled_kernels_are_the_calls_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    kernels_in = importlib.import_module("compiled").kernels_in
    assert kernels_in(CODE) == (3, 2)
