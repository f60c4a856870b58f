"""The training loop: one update after another, with logging, validation and checkpoints."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import DistError

from blip import dist
from blip.errors import BlipError, UsageError, first_line, is_out_of_memory
from blip.files import atomic_folder, fingerprint_json
from blip.log import MetricsLog, Progress, progress, say
from blip.nn.device import as_current, choose_device, say_if_emulated
from blip.outputs import CHECKPOINT
from blip.train.checkpoint import (
    Checkpoints,
    SaveModel,
    find_not_finite,
    random_state,
    restore_random_state,
)
from blip.train.config import TrainConfig
from blip.train.optim import learning_rate, make_optimizer, set_learning_rate
from blip.train.parallelize import clip_gradients, gradients, parallelize, unsharded
from blip.train.peak import peak_rate
from blip.train.precision import attention_kernels, autocast
from blip.train.signals import stop_on_signals
from blip.train.state import load_optimizer, load_weights, whole_optimizer, whole_weights
from blip.train.training import Batch, Loader, Output, Training
from blip.train.watch import StepWatch, peak_memory

NO_CLIPPING = float("inf")


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a run ended."""

    steps: int
    stopped_by: Signals | None
    """The signal that ended it before its last step; None where it is complete."""


def fit(
    training: Training,
    loader: Loader,
    config: TrainConfig,
    folder: Path,
    *,
    save: SaveModel,
    allow_change: bool = False,
    resumed: Callable[[int], object] = lambda step: None,
) -> FitResult:
    """Train for `config.steps` updates in the run folder `folder`.

    Under `dist.processes` every process calls it with its share of the batches; the main one
    writes, and a signal to any of them stops all after the same step.

    Resumes from the newest whole checkpoint there, to the same weights as a run never cut. SIGTERM
    or Ctrl-C ends after the step under way, with a checkpoint. At the end `save` writes the weights
    of the model to `folder/checkpoint`. Raises BlipError after `max_nonfinite` updates in a row
    without a finite loss and gradient; the last checkpoint from before them stays. Raises
    UsageError if the data is not that of the checkpoint, unless `allow_change`. `resumed` is
    called in the main process with the step from which the run resumes, 0 where it begins.
    """
    device = choose_device(config.device)
    # Random numbers and waiting are those of the current GPU.
    with as_current(device):
        say_if_emulated(getattr(torch, config.precision), device)
        run = _Run(training, loader, config, folder, save, device)
        run.resume(allow_change=allow_change, resumed=resumed)
        stopped_by: int | None = None
        with ExitStack() as until_the_end:
            stop = until_the_end.enter_context(stop_on_signals())
            until_the_end.callback(run.checkpoints.wait)
            run.show(until_the_end)
            batches = loader.batches(run.step * config.accumulation)
            while run.step < config.steps and stopped_by is None:
                run.update(batches)
                stopped_by = dist.first_not_none(stop.signal)
                run.report(stops=stopped_by is not None)
                if run.step < config.steps:
                    run.checkpoint(stops=stopped_by is not None)
        if run.step < config.steps:
            return FitResult(
                run.step, stopped_by=None if stopped_by is None else Signals(stopped_by)
            )
        run.finish()
        return FitResult(run.step, stopped_by=None)


class _Run:
    """A run under way: everything that changes from step to step."""

    def __init__(
        self,
        training: Training,
        loader: Loader,
        config: TrainConfig,
        folder: Path,
        save: SaveModel,
        device: torch.device,
    ) -> None:
        self.training, self.loader, self.config = training, loader, config
        self.state = training.state
        self.folder = folder
        self.save: SaveModel = lambda to, weights: save(to, training.weights_of_model(weights))
        self.device = device
        self.training.step.to(self.device)
        self.momentum_encoders: Mapping[str, nn.Module] = {}
        if self.state is not None:
            self.state.to(self.device)
            self.momentum_encoders = self.state.momentum_encoders
        self.training.step.train()
        self.forward = parallelize(
            self.training.step, self.momentum_encoders.values(), config, self.device
        )
        self.optimizer = make_optimizer(training.step, config.optimizer, training.lr_scales)
        self.checkpoints = Checkpoints(folder, keep=config.keep_checkpoints, save_model=self.save)
        self.step = self.skipped = self.nonfinite_in_a_row = 0
        self.checkpoint_is_due = False
        if dist.rank() > 0:
            self._reseed()
        self.watch = StepWatch(
            peak=lambda: peak_rate(self.device, config.precision),
            memory=lambda: peak_memory(self.device),
            processes=dist.world_size(),
        )
        self.bar: Progress | None = None
        self.last: tuple[list[Output], Tensor] | None = None

    def show(self, until: ExitStack) -> None:
        """Open the log and, in the main process alone, show a bar; both are closed at the end."""
        self.log = MetricsLog(
            self.folder,
            after=self.step,
            tensorboard=self.config.tensorboard,
            wandb=self.config.wandb,
            writes=dist.is_main(),
        )
        until.callback(self.log.close)
        if dist.is_main():
            bar = progress(self.config.steps, self.folder.name, "steps", self.step)
            self.bar = until.enter_context(bar)

    @property
    def epoch(self) -> float:
        """Epochs done, as a fraction."""
        return self.step * self.config.accumulation / self.loader.steps_per_epoch

    def update(self, batches: Iterator[Batch]) -> None:
        """One update of the weights, or a counted failure to make one."""
        config, training, state = self.config, self.training, self.state
        rate = learning_rate(
            config.optimizer,
            self.step,
            total_steps=config.steps,
            steps_per_epoch=self.loader.steps_per_epoch / config.accumulation,
        )
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad()
        contexts, outputs = [], []
        for number in range(1, config.accumulation + 1):
            with self.watch.waiting():
                batch = next(batches)
            # Counted before it is on a GPU, which would have to be waited for.
            operations = training.count_operations(batch)
            batch = batch.to(self.device)
            with (
                gradients(self.forward, complete=number == config.accumulation),
                attention_kernels(self.device, config.precision),
            ):
                with autocast(self.device, config.precision):
                    if state is None:
                        outputs.append(self.forward(batch))
                    else:
                        contexts.append(state.context(batch, self.epoch))
                        outputs.append(self.forward(batch, contexts[-1]))
                (outputs[-1].loss / config.accumulation).backward()
            self.watch.after_step(len(batch), operations)
        max_norm = config.optimizer.clip_norm or NO_CLIPPING
        norm = clip_gradients(self.training.step.parameters(), max_norm)
        self.step += 1
        # A loss that is not finite makes the gradient's norm so, too.
        if not torch.isfinite(norm):
            self._skip()
            return
        self.nonfinite_in_a_row = 0
        self.optimizer.step()
        if state is not None:
            state.after_update(*contexts)
        self.last = (outputs, norm)

    def report(self, *, stops: bool) -> None:
        """Show progress; every `log_every` steps write the values down.

        Where the run `stops` there is no time for an evaluation.
        """
        config = self.config
        logged = self.step % config.log_every == 0 or self.step == config.steps
        values: dict[str, float] = {}
        if logged:
            values = {"epoch": self.epoch, "skipped": self.skipped}
            values |= self._losses()
            values["learning_rate"] = self.optimizer.param_groups[0]["lr"]
            # Last, when the device has finished the step.
            values |= self.watch.values()
        if not stops and config.evaluate_every and self.step % config.evaluate_every == 0:
            with self.watch.paused():
                values |= self._evaluate()
        if values:
            self.log.write(self.step, values)
        if self.bar is not None:
            self.bar.advance(1, **({"loss": f"{values['loss']:.3f}"} if "loss" in values else {}))

    def _losses(self) -> dict[str, float]:
        """Means over all batches and processes of the last update; nothing where it was skipped."""
        if self.last is None:
            return {}
        outputs, norm = self.last
        parts = [{"loss": output.loss, **output.parts()} for output in outputs]
        return {
            name: float(dist.mean(torch.stack([part[name].detach() for part in parts]).mean()))
            for name in parts[0]
        } | {"gradient_norm": float(norm)}

    def checkpoint(self, *, stops: bool) -> None:
        """Write a checkpoint, where one is due or the run `stops`.

        Not while updates fail: the newest checkpoint must be from before them. A run that stops
        then writes one all the same, and keeps that older one beside it.
        """
        if self.step % self.config.checkpoint_every == 0:
            self.checkpoint_is_due = True
        is_good = self.nonfinite_in_a_row == 0
        if not stops and not (self.checkpoint_is_due and is_good):
            return
        self.checkpoint_is_due = False
        with self.watch.paused():
            state = self._whole_state()
            if dist.is_main():
                self.checkpoints.begin(self.step, state, drop=is_good)

    def finish(self) -> None:
        """Write the model, the result of the run, and remove the checkpoints.

        Raises BlipError, and keeps the checkpoints, if its weights are not finite.
        """
        weights = whole_weights(self.training.step)
        dist.on_main(lambda: self._write_model(weights))

    def _write_model(self, weights: Mapping[str, Tensor]) -> None:
        if name := find_not_finite(weights):
            raise BlipError(
                f"after {self.step} steps {name} is not finite, and no model is written; "
                f"{self._describe_last_good()}"
            )
        with atomic_folder(self.folder / "checkpoint", replaces=CHECKPOINT) as final:
            self.save(final, weights)
        self.checkpoints.remove()

    def _evaluate(self) -> Mapping[str, float]:
        """Processes share the evaluation; the samples are the main one's."""
        evaluator, samples = self.training.evaluator, self.training.samples
        self.training.step.eval()
        # Images and texts come in other shapes here: nothing is compiled for them.
        with torch.compiler.set_stance("force_eager"), unsharded(self.forward):
            values = {} if evaluator is None else evaluator()
            picture = None if samples is None or not dist.is_main() else samples()
        self.training.step.train()
        if picture is not None:
            self.log.write_picture(self.step, "samples", picture)
        return values

    def _whole_state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, in the main process."""
        return {
            "weights": whole_weights(self.training.step),
            "momentum_encoders": {
                name: whole_weights(encoder) for name, encoder in self.momentum_encoders.items()
            },
            "optimizer": whole_optimizer(self.training.step, self.optimizer),
            "state": {} if self.state is None else self.state.state_dict(),
            "random": dist.gather_objects(random_state()),
            "data": self._data(self.loader.order),
            "skipped": self.skipped,
            "nonfinite_in_a_row": self.nonfinite_in_a_row,
        }

    def _data(self, order: str) -> str:
        """A fingerprint of which samples which update learns from."""
        rows = self.loader.batch_size * self.config.accumulation
        return fingerprint_json([order, rows])

    def resume(self, *, allow_change: bool, resumed: Callable[[int], object]) -> None:
        """Resume from the newest whole checkpoint, if there is one."""
        step = dist.on_main(self.checkpoints.newest)
        if not dist.is_same(int(self._data(self.loader.order)[:15], base=16)):
            raise BlipError("the processes find different data; all must see the same shards")
        if step is not None:
            self.step = step
            try:
                self._restore(allow_change=allow_change)
            except (KeyError, ValueError, RuntimeError) as error:
                # torch reports shapes that do not fit, and much else, by a RuntimeError.
                if is_out_of_memory(error) or isinstance(error, DistError):
                    raise
                raise UsageError(
                    f"the checkpoint of step {step} in {self.checkpoints.folder} is not of this "
                    f"configuration: {first_line(error)}; choose another --out"
                ) from error
        if dist.is_main():
            resumed(self.step)

    def _restore(self, *, allow_change: bool) -> None:
        """Undo `_whole_state`. The main process reads, so that it alone need see the folder."""
        whole: dict[str, Any] = {"weights": {}, "optimizer": {}, "momentum_encoders": {}}

        def read() -> dict[str, Any]:
            state = self.checkpoints.read(self.step)
            whole.update({name: state.pop(name, {}) for name in whole})
            return state

        state = dist.on_main(read)
        self._compare_data(state["data"], allow_change=allow_change)
        load_weights(self.training.step, whole["weights"])
        for name, encoder in self.momentum_encoders.items():
            load_weights(encoder, whole["momentum_encoders"].get(name, {}))
        load_optimizer(self.training.step, self.optimizer, whole["optimizer"])
        if self.state is not None:
            self.state.load_state_dict(state["state"])
        self.skipped = state["skipped"]
        self.nonfinite_in_a_row = state["nonfinite_in_a_row"]
        if len(state["random"]) == dist.world_size():
            restore_random_state(state["random"][dist.rank()])
        else:
            self._reseed()
            say(f"{len(state['random'])} processes wrote this checkpoint: dropout is sampled anew")

    def _compare_data(self, data: str, *, allow_change: bool) -> None:
        """Raise UsageError where the checkpoint is of other data, unless that is allowed."""
        if data == self._data(self.loader.order):
            return
        if data == self._data(self.loader.former_order):
            say(
                "an earlier version wrote the checkpoint: only the numbers of samples were compared"
            )
            return
        if not allow_change:
            raise UsageError(
                f"the data has changed since the first {self.step} steps of "
                f"{self.folder}; --allow-change resumes with it, another --out starts a new run"
            )
        say(
            f"the data differs from that of the first {self.step} steps: samples may now come "
            "in another order, some of this epoch again and some not at all"
        )

    def _reseed(self) -> None:
        """Sample dropout independently in each process, and after each change of their number."""
        sources = [self.config.seed, self.step, dist.world_size(), dist.rank()]
        torch.manual_seed(int(fingerprint_json(sources), base=16))

    def _skip(self) -> None:
        self.last = None
        self.skipped += 1
        self.nonfinite_in_a_row += 1
        if self.nonfinite_in_a_row >= self.config.max_nonfinite:
            raise BlipError(
                f"{self.nonfinite_in_a_row} updates in a row had no finite loss or gradient "
                f"(up to step {self.step}); {self._describe_last_good()}"
            )

    def _describe_last_good(self) -> str:
        """Where the newest checkpoint from before the failures is."""
        self.checkpoints.wait()
        found = self.checkpoints.last_good()
        if found is None:
            return f"there is no good checkpoint in {self.checkpoints.folder}"
        return f"the last good checkpoint is {found}"
