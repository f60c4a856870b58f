"""Rates by a clock that the test moves, and peaks by name."""

import re
from pathlib import Path

import pytest
import torch

from blip.train import peak
from blip.train.peak import gpu_rate, measured_rate, peak_rate
from blip.train.watch import GIB, StepWatch, peak_memory


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def make(clock: Clock, peak: float | None = 1e12, processes: int = 1) -> StepWatch:
    return StepWatch(peak=lambda: peak, memory=lambda: 3 * GIB, processes=processes, clock=clock)


def test_rates_of_a_stretch() -> None:
    clock = Clock()
    watch = make(clock)
    for _ in range(2):
        with watch.waiting():
            clock.pass_by(1.0)
        clock.pass_by(4.0)
        watch.after_step(16, operations=2e12)
    assert watch.values() == pytest.approx(
        {
            "samples_per_second": 3.2,
            "data_wait": 0.2,
            "memory_gib": 3.0,
            "teraflops": 0.4,
            "flops_utilisation": 0.4,
        }
    )
    # The next stretch knows nothing of the first.
    clock.pass_by(2.0)
    watch.after_step(4, operations=1e12)
    again = watch.values()
    assert again["samples_per_second"] == pytest.approx(2.0)
    assert again["data_wait"] == 0.0
    assert again["flops_utilisation"] == pytest.approx(0.5)


def test_an_evaluation_is_no_training() -> None:
    clock = Clock()
    watch = make(clock)
    with watch.paused():
        clock.pass_by(50.0)
    with watch.waiting():
        clock.pass_by(1.0)
    clock.pass_by(1.0)
    watch.after_step(10)
    found = watch.values()
    assert found["samples_per_second"] == pytest.approx(5.0)
    assert found["data_wait"] == pytest.approx(0.5)


def test_the_time_of_a_block_that_fails_counts_too() -> None:
    clock = Clock()
    watch = make(clock)

    def read() -> None:
        with watch.waiting():
            clock.pass_by(3.0)
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        read()
    clock.pass_by(1.0)
    assert watch.values()["data_wait"] == pytest.approx(0.75)


def test_samples_of_all_processes_but_one_device_s_use() -> None:
    clock = Clock()
    watch = make(clock, processes=4)
    clock.pass_by(1.0)
    watch.after_step(8, operations=5e11)
    found = watch.values()
    assert found["samples_per_second"] == pytest.approx(32.0)
    assert found["flops_utilisation"] == pytest.approx(0.5)


def test_what_is_not_known_is_left_out() -> None:
    clock = Clock()
    watch = make(clock, peak=None)
    clock.pass_by(1.0)
    watch.after_step(8, operations=1e12)
    assert "teraflops" in watch.values()
    clock.pass_by(1.0)
    watch.after_step(8, operations=1e12)
    watch.after_step(8)
    assert watch.values().keys() == {"samples_per_second", "data_wait", "memory_gib"}
    # Nothing learnt and no time gone by: no division by zero.
    assert watch.values()["samples_per_second"] == 0.0


def test_the_peak_is_asked_once_and_only_where_it_is_needed() -> None:
    asked = []
    watch = StepWatch(peak=lambda: asked.append(1), memory=lambda: 0)
    watch.after_step(1)
    watch.values()
    assert not asked
    for _ in range(3):
        watch.after_step(1, operations=1.0)
        watch.values()
    assert asked == [1]


@pytest.mark.parametrize(
    ("name", "precision", "tf32", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", False, 989.4),
        ("NVIDIA H100 PCIe", "bfloat16", False, 756.0),
        ("NVIDIA H100 NVL", "bfloat16", True, 835.0),
        ("NVIDIA H200", "float32", True, 494.7),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", False, 312.0),
        ("NVIDIA A100 80GB PCIe", "float32", True, 156.0),
        ("NVIDIA A100-SXM4-40GB", "float32", False, 19.5),
        ("NVIDIA L4", "bfloat16", False, 121.0),
        ("NVIDIA L40S", "bfloat16", False, 362.0),
        ("NVIDIA GeForce RTX 4090", "bfloat16", False, 165.2),
        ("Tesla V100-SXM2-32GB", "float32", True, 15.7),
        ("Tesla V100-SXM2-32GB", "bfloat16", False, None),
        ("Tesla T4", "float32", False, 8.1),
        ("NVIDIA A10G", "bfloat16", False, None),
        ("Some GPU of tomorrow", "bfloat16", True, None),
    ],
)
def test_the_peak_of_a_gpu(name: str, precision: str, tf32: bool, tera: float | None) -> None:
    found = gpu_rate(name, precision, tf32=tf32)
    assert found == (None if tera is None else pytest.approx(tera * 1e12))


def test_a_cpu_is_measured_by_its_best_product_without_random_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_rng_state()
    # The products take 4, 2 and 8 seconds, by this clock.
    clock = iter([0.0, 4.0, 10.0, 12.0, 20.0, 28.0])
    multiplied: list[torch.Size] = []
    monkeypatch.setattr(peak, "TRIES", 3)
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(torch, "mm", lambda one, other: multiplied.append(one.shape))
    assert measured_rate.__wrapped__("float32", 1) == 2 * peak.SIDE**3 / 2.0
    assert multiplied == [(peak.SIDE, peak.SIDE)] * 3
    monkeypatch.undo()
    assert torch.equal(torch.get_rng_state(), before)


def test_only_a_cpu_is_measured() -> None:
    assert peak_rate(torch.device("cpu"), "bfloat16")
    assert peak_rate(torch.device("meta"), "float32") is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it there")
def test_memory_of_a_process_is_the_most_that_it_held_in_bytes() -> None:
    status = Path("/proc/self/status").read_text()
    held = re.search(r"VmHWM:\s+(\d+) kB", status)
    most = peak_memory(torch.device("cpu"))
    assert held is not None
    assert most is not None
    assert 0.99 < most / (int(held[1]) * 1024) < 1.5
