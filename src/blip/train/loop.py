"""The training loop: it reads from top to bottom what happens to the weights."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import Tensor

from blip.errors import BlipError
from blip.files import atomic_folder
from blip.log import MetricsLog, Progress, progress
from blip.nn.device import choose_device
from blip.train.checkpoint import Checkpoints, restore_random_state
from blip.train.config import TrainConfig
from blip.train.optim import learning_rate, make_optimizer, set_learning_rate
from blip.train.precision import autocast
from blip.train.signals import stop_on_signals
from blip.train.task import Batch, Loader, Output, Task

NO_CLIPPING = float("inf")


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a run ended."""

    steps: int
    stopped_by: Signals | None
    """The signal that ended it before its last step; None where it is complete."""


def fit(
    task: Task,
    loader: Loader,
    config: TrainConfig,
    folder: Path,
    *,
    save: Callable[[Path], None],
) -> FitResult:
    """Train `task` for `config.steps` updates in the run folder `folder`.

    Goes on from the newest whole checkpoint there, to the same weights as a run never cut. SIGTERM
    or Ctrl-C ends after the step under way, with a checkpoint. At the end `save` writes the model
    to `folder/checkpoint`. Raises BlipError after `max_nonfinite` updates in a row without a finite
    loss and gradient; the last good checkpoint stays.
    """
    run = _Run(task, loader, config, folder, save)
    with stop_on_signals() as stop, progress(config.steps, folder.name, "steps", run.step) as bar:
        batches = loader.batches(run.step * config.accumulation)
        while run.step < config.steps and not stop.made:
            run.update(batches)
            run.report(bar)
            if run.step % config.checkpoint_every == 0 or stop.made:
                run.checkpoint()
    run.log.close()
    if run.step < config.steps:
        return FitResult(run.step, stopped_by=stop.signal)
    with atomic_folder(folder / "checkpoint") as final:
        save(final)
    run.checkpoints.remove()
    return FitResult(run.step, stopped_by=None)


class _Run:
    """A run under way: everything that changes from step to step."""

    def __init__(
        self,
        task: Task,
        loader: Loader,
        config: TrainConfig,
        folder: Path,
        save: Callable[[Path], None],
    ) -> None:
        self.task, self.loader, self.config = task, loader, config
        self.device = choose_device(config.device)
        task.step.to(self.device).train()
        self.optimizer = make_optimizer(task.step, config.optimizer)
        self.checkpoints = Checkpoints(folder, keep=config.keep_checkpoints, save_model=save)
        self.step = self.skipped = self.nonfinite_in_a_row = 0
        self._resume()
        self.log = MetricsLog(folder, after=self.step, tensorboard=config.tensorboard)
        self.samples = 0
        self.since = time.monotonic()
        self.last: tuple[Output, Tensor] | None = None

    @property
    def epoch(self) -> float:
        """Epochs done, as a fraction."""
        return self.step * self.config.accumulation / self.loader.steps_per_epoch

    def update(self, batches: Iterator[Batch]) -> None:
        """One update of the weights, or a counted failure to make one."""
        config, task = self.config, self.task
        rate = learning_rate(
            config.optimizer,
            self.step,
            total_steps=config.steps,
            steps_per_epoch=self.loader.steps_per_epoch / config.accumulation,
        )
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad()
        contexts, outputs = [], []
        for _ in range(config.accumulation):
            batch = next(batches).to(self.device)
            with autocast(self.device, config.precision):
                contexts.append(task.context(batch, self.epoch))
                outputs.append(task.step(batch, contexts[-1]))
            (outputs[-1].loss / config.accumulation).backward()
            self.samples += len(batch.images)
        longest = config.optimizer.clip_norm or NO_CLIPPING
        norm = torch.nn.utils.clip_grad_norm_(task.step.parameters(), longest)
        self.step += 1
        # A loss that is not finite makes the gradient's norm so, too.
        if not torch.isfinite(norm):
            self._skip()
            return
        self.nonfinite_in_a_row = 0
        self.optimizer.step()
        for context in contexts:
            task.after_update(context)
        self.last = (outputs[-1], norm)

    def report(self, bar: Progress) -> None:
        """Show progress; every `log_every` steps write the values down."""
        config = self.config
        logged = self.step % config.log_every == 0 or self.step == config.steps
        values: dict[str, float] = {}
        if logged and self.last is not None:
            output, norm = self.last
            seconds = time.monotonic() - self.since
            values = {
                "epoch": self.epoch,
                "loss": float(output.loss.detach()),
                **{name: float(part.detach()) for name, part in output.parts().items()},
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "gradient_norm": float(norm),
                "samples_per_second": self.samples / max(seconds, 1e-9),
                "skipped": self.skipped,
            }
            self.samples, self.since = 0, time.monotonic()
        if config.evaluate_every and self.step % config.evaluate_every == 0:
            self.task.step.eval()
            values |= self.task.evaluate()
            self.task.step.train()
        if values:
            self.log.write(self.step, values)
        bar.advance(1, **({"loss": f"{values['loss']:.3f}"} if "loss" in values else {}))

    def checkpoint(self) -> None:
        """Write down all that the rest of the run depends on."""
        self.checkpoints.write(self.step, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "weights": self.task.step.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "task": self.task.state_dict(),
            "skipped": self.skipped,
            "nonfinite_in_a_row": self.nonfinite_in_a_row,
        }

    def _resume(self) -> None:
        found = self.checkpoints.newest()
        if found is None:
            return
        self.step = found.step
        self.task.step.load_state_dict(found.state["weights"])
        self.optimizer.load_state_dict(found.state["optimizer"])
        self.task.load_state_dict(found.state["task"])
        self.skipped = found.state["skipped"]
        self.nonfinite_in_a_row = found.state["nonfinite_in_a_row"]
        restore_random_state(found.state["random"])

    def _skip(self) -> None:
        self.skipped += 1
        self.nonfinite_in_a_row += 1
        if self.nonfinite_in_a_row >= self.config.max_nonfinite:
            raise BlipError(
                f"{self.nonfinite_in_a_row} updates in a row had no finite loss or gradient "
                f"(step {self.step}); the last good checkpoint is in {self.checkpoints.folder}"
            )
