"""The jobs of a bootstrap run, in this process or in parallel processes."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blip.capfilt.config import CapFiltConfig
from blip.config.strict import save
from blip.crash import report_crash
from blip.data.scenes.config import ScenesConfig
from blip.errors import INTERRUPTED, BlipError, plain
from blip.evaluation.config import EvaluateConfig
from blip.log import LINES_ONLY, say
from blip.outputs import EVALUATION, JOB, SCENES, TOKENIZER, Kind
from blip.processes import end_with_parent, start_process, stop_on_sigterm
from blip.stage import Stage
from blip.tasks.config import RunOptions, TokenizerConfig, TrainingConfig
from blip.tasks.table import EVALUATIONS, TASKS, find_task

JobConfig = ScenesConfig | TokenizerConfig | TrainingConfig | CapFiltConfig | EvaluateConfig

KINDS: dict[type[JobConfig], Kind] = {
    ScenesConfig: SCENES,
    TokenizerConfig: TOKENIZER,
    **{task.config: task.config.kind for task in TASKS},
    CapFiltConfig: JOB,
    EvaluateConfig: EVALUATION,
}
"""The kind of result of a job, by the class of its configuration."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that a configuration describes completely; it can be sent to another process."""

    config: JobConfig
    out: Path
    # Its stage has already decided whether it may resume with other inputs.
    options: RunOptions = RunOptions(allow_change=True)

    def __call__(self) -> None:
        """Write config.json, then do the work; heavy imports happen here."""
        task = find_task(self.config)
        if task is not None and isinstance(self.config, task.config):
            # A training writes its own config.json, with its history if it is resumed.
            task.train(self.config, self.out, self.options)
            return
        save(self.config, self.out / "config.json")
        match self.config:
            case ScenesConfig():
                from blip.data.scenes.write import write_splits

                write_splits(self.config, self.out)
            case TokenizerConfig():
                from blip.tasks.vocabulary import make_tokenizer

                make_tokenizer(self.config, self.out)
            case CapFiltConfig():
                from blip.capfilt import job as pipeline

                pipeline.run(self.config)
            case EvaluateConfig():
                from blip.evaluation.evaluate import evaluate_into

                evaluate_into(self.config, EVALUATIONS, self.out)
            case _:
                raise AssertionError(f"no job for {type(self.config).__name__}")


def run_together(stages: Sequence[Stage], parallel: int) -> None:
    """Run independent stages, up to `parallel` at a time, each with its share of the cores.

    A stage has the same share when the other one is done already: another number of threads gives
    other rounding, and a resumed run must end with the same weights. Raises BlipError if a stage
    fails, after the others have finished.
    """
    if parallel == 1 or len(stages) < 2:
        for stage in stages:
            stage.run()
        return
    threads = max(1, (os.cpu_count() or 1) // min(parallel, len(stages)))
    waiting = []
    for stage in stages:
        if stage.is_done():
            stage.run()
        else:
            waiting.append(stage)
    for start in range(0, len(waiting), parallel):
        _run_processes(waiting[start : start + parallel], threads)


def _run_processes(stages: list[Stage], threads: int) -> None:
    if len(stages) > 1:
        say(f"in parallel: {' and '.join(stage.name for stage in stages)}")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=run_in_child, args=(stage, threads)) for stage in stages]
    with stop_on_sigterm("stopped; run the same command again to resume"):
        try:
            for process in processes:
                start_process(process)
            for process in processes:
                process.join()
        except BaseException:
            started = [process for process in processes if process.pid is not None]
            for process in started:
                process.terminate()
            for process in started:
                process.join()
            raise
    failed = [s.name for p, s in zip(processes, stages, strict=True) if p.exitcode != 0]
    if failed:
        raise BlipError(f"{' and '.join(failed)} failed; run the same command again to resume")


def run_in_child(stage: Stage, threads: int) -> None:
    """Run a stage in a process of its own, whose exit status is 0 if that went well."""
    import torch

    end_with_parent()
    os.environ[LINES_ONLY] = "1"
    torch.set_num_threads(threads)
    try:
        stage.run()
    except BlipError as error:
        say(f"{stage.name}: {plain(str(error))}")
        sys.exit(1)
    # multiprocessing would print a traceback for any other exception.
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        say(report_crash(error, stage.name))
        sys.exit(1)
