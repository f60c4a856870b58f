"""The pieces of work of the main job, done here or side by side in processes of their own."""

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from blip.capfilt.config import CapFiltConfig
from blip.data.scenes.config import ScenesConfig
from blip.errors import BlipError
from blip.log import LINES_ONLY, say
from blip.reports.config import EvaluateConfig
from blip.stage import Stage
from blip.tasks.config import CaptionerConfig, FilterConfig, PretrainConfig, TokenizerConfig

JobConfig = (
    ScenesConfig
    | PretrainConfig
    | CaptionerConfig
    | FilterConfig
    | CapFiltConfig
    | EvaluateConfig
    | TokenizerConfig
)


@dataclass(frozen=True, slots=True)
class Job:
    """Work that a configuration describes wholly; it can be sent to another process."""

    config: JobConfig
    out: Path

    def __call__(self) -> None:
        """Do it; heavy imports happen here."""
        match self.config:
            case ScenesConfig():
                from blip.data.scenes.write import write_splits

                write_splits(self.config, self.out)
            case TokenizerConfig():
                from blip.tasks.vocabulary import make_tokenizer

                make_tokenizer(self.config, self.out)
            case PretrainConfig():
                from blip.tasks import pretrain

                pretrain.train(self.config, self.out)
            case CaptionerConfig():
                from blip.tasks import caption

                caption.train(self.config, self.out)
            case FilterConfig():
                from blip.tasks import retrieval

                retrieval.train(self.config, self.out)
            case CapFiltConfig():
                from blip.capfilt import pipeline

                pipeline.run(self.config)
            case EvaluateConfig():
                from blip.reports.evaluate import evaluate_into

                evaluate_into(self.config, self.out)
            case _ as never:
                assert_never(never)


def run_together(stages: Sequence[Stage], parallel: int) -> None:
    """Do independent stages, up to `parallel` at a time, each with its share of the cores.

    Raises BlipError where one fails; the others are let to their end first, so that nothing that
    they did is lost.
    """
    waiting = [stage for stage in stages if not stage.is_done()]
    for stage in stages:
        if stage not in waiting:
            stage.run()
    if parallel == 1 or len(waiting) < 2:
        for stage in waiting:
            stage.run()
        return
    threads = max(1, (os.cpu_count() or 1) // parallel)
    context = multiprocessing.get_context("spawn")
    for start in range(0, len(waiting), parallel):
        together = waiting[start : start + parallel]
        say(f"side by side, {threads} threads each: {', '.join(s.name for s in together)}")
        processes = [context.Process(target=_in_child, args=(s, threads)) for s in together]
        for process in processes:
            process.start()
        _wait(processes, together)


def _wait(processes: list, stages: list[Stage]) -> None:
    try:
        for process in processes:
            process.join()
    except BaseException:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        raise
    failed = [s.name for p, s in zip(processes, stages, strict=True) if p.exitcode != 0]
    if failed:
        raise BlipError(f"{' and '.join(failed)} did not end well; the same command goes on")


def _in_child(stage: Stage, threads: int) -> None:
    import sys

    import torch

    os.environ[LINES_ONLY] = "1"
    torch.set_num_threads(threads)
    try:
        stage.run()
    except BlipError as error:
        say(f"{stage.name}: {error}")
        sys.exit(1)
