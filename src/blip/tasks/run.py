"""What every training run does around its task: folder, lock, configuration, data, checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import torch

from blip import dist
from blip.config.history import (
    describe_changes,
    find_changes,
    holds_config,
    load_config,
    save_with_history,
)
from blip.config.strict import save
from blip.data.examples.examples import Examples
from blip.data.loader import Loader
from blip.data.tokenizer import Tokenizer, find_tokenizer
from blip.errors import INTERRUPTED, BlipError, StoppedError, UsageError
from blip.files import disk_is_full
from blip.inference.checkpoint import Model, save_model
from blip.log import say
from blip.model.config import check_length
from blip.outputs import Kind, claim, remove_known
from blip.outputs import refuse_inputs_as_output as refuse_inputs
from blip.stage import exclusive_lock
from blip.tasks.config import FREE_TO_CHANGE, RunOptions, TrainingConfig
from blip.train.checkpoint import Checkpoints, adopt, has_checkpoints
from blip.train.loop import fit
from blip.train.training import Training


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a training run that this process, and those that train with it, hold."""

    out: Path
    config: TrainingConfig
    is_finished: bool
    """Whether its model already exists."""
    allow_change: bool

    def train(
        self, training: Training[Model], tokenizer: Tokenizer, examples: Examples[Any, Any]
    ) -> None:
        """Train on these examples, and leave the model in `out/checkpoint`.

        Raises StoppedError if the run was asked to stop before its end; the same call resumes.
        """
        model = training.model
        check_length(model.config.text, "data.max_tokens", self.config.data.max_tokens)
        dist.on_main(lambda: self._compare_tokenizers(tokenizer))
        name = "bad_samples.jsonl" if dist.is_main() else f"bad_samples-{dist.rank()}.jsonl"
        loader = Loader(
            self.config.data,
            examples,
            rank=dist.rank(),
            ranks=dist.world_size(),
            bad_log=self.out / name,
        )
        result = fit(
            training,
            loader,
            self.config.train,
            self.out,
            save=lambda folder, weights: save_model(model, tokenizer, folder, weights),
            allow_change=self.allow_change,
            resumed=self._note,
        )
        if result.stopped_by is not None:
            raise StoppedError(
                f"stopped after {result.steps} steps; run the same command again to resume",
                status=INTERRUPTED if result.stopped_by == Signals.SIGINT else 0,
            )

    def _compare_tokenizers(self, tokenizer: Tokenizer) -> None:
        """Raise UsageError where the run would resume with other tokens than it began with.

        The main process alone need see the folder.
        """
        begun = next(iter(sorted(self.out.glob("checkpoints/step-*"), reverse=True)), None)
        if begun is None or self.allow_change or find_tokenizer(begun) is None:
            return
        if Tokenizer.load(begun).content != tokenizer.content:
            raise UsageError(
                f"{self.out} was started with another tokenizer, that in {begun}; put it back, or "
                "--allow-change resumes with the new one, another --out starts a new run"
            )

    def _note(self, step: int) -> None:
        """Write down which configuration holds from a step on."""
        save_with_history(self.config, self.out / "config.json", step, FREE_TO_CHANGE)


def train_in(
    out: Path,
    config: TrainingConfig,
    options: RunOptions | None,
    tokenizer: Tokenizer,
    prepare: Callable[[], tuple[Training[Model], Examples[Any, Any]]],
) -> Path:
    """Train into the run folder `out` (resumed where it stopped), unless it is finished.

    `prepare` makes the training and its examples, once the folder is held and torch seeded.
    Returns `out`. Raises as `open_run` and `RunFolder.train` do.
    """
    with open_run(config, out, options) as folder:
        if not folder.is_finished:
            training, examples = prepare()
            folder.train(training, tokenizer, examples)
    return out


@contextmanager
def open_run(
    config: TrainingConfig, out: Path, options: RunOptions | None = None
) -> Iterator[RunFolder]:
    """Hold the folder of a run, with its configuration in it and torch seeded for fresh weights.

    The main process looks and decides, the others follow. Raises UsageError if the folder is
    not this run's, if another run holds it, or if its checkpoints or its model were made
    with another configuration, unless `options` say what to do; nothing is changed then. A full
    disk raises BlipError in one line.
    """
    chosen = options or RunOptions()
    with ExitStack() as held:
        is_finished = dist.on_main(lambda: _prepare(config, out, chosen, held))
        torch.manual_seed(config.train.seed)
        with _full_disk_in_one_line(out):
            yield RunFolder(out, config, is_finished, chosen.allow_change)


def _prepare(config: TrainingConfig, out: Path, options: RunOptions, held: ExitStack) -> bool:
    """Claim and lock the folder and compare configurations; whether the run is finished."""
    with _full_disk_in_one_line(out):
        kind, path = config.kind, out / "config.json"
        refuse_inputs(_inputs(config), out, kind)
        claim(out, kind, is_ours=lambda: holds_config(type(config), path))
        held.enter_context(exclusive_lock(out))
        _compare(config, out, options, kind)
        if (out / "checkpoint").is_dir():
            # What a kill between the model and the end of the run left.
            Checkpoints(out, keep=1, save_model=lambda *_: None).remove()
            say(f"{out} is finished already")
            return True
        found = None if options.start is None else adopt(options.start, out)
        if found is not None:
            # The steps up to it were of that run's configuration.
            of_other = found.parent.parent / "config.json"
            step = int(found.name.removeprefix("step-"))
            earlier = of_other if holds_config(type(config), of_other) else None
            save_with_history(config, path, step, FREE_TO_CHANGE, earlier)
        elif not has_checkpoints(out):
            save(config, path)
        return False


def _compare(config: TrainingConfig, out: Path, options: RunOptions, kind: Kind) -> None:
    """Raise UsageError where the run would resume with other settings than `options` allow."""
    finished = (out / "checkpoint").is_dir()
    path = out / "config.json"
    if not (finished or has_checkpoints(out)) or not path.exists():
        return
    changes = find_changes(load_config(type(config), path), config, FREE_TO_CHANGE)
    if not changes:
        return
    changed = describe_changes(changes)
    if options.overwrite:
        say(f"{out}: starting over with {changed}")
        remove_known(out, kind.files)
    elif finished:
        raise UsageError(
            f"{out} holds a finished run of another configuration ({changed}); --overwrite "
            "replaces it, another --out keeps both"
        )
    elif options.allow_change:
        say(f"{out}: resuming with {changed}")
    else:
        raise UsageError(
            f"{out} was started with another configuration ({changed}); --allow-change resumes "
            "with the new one, --overwrite starts from the beginning, another --out keeps both"
        )


def _inputs(config: TrainingConfig) -> list[str]:
    """Places that a run reads."""
    shards = [shard for source in config.data.sources for shard in source.shards]
    held_out = () if config.validation is None else config.validation.inputs
    return [*shards, *held_out, *config.inputs]


@contextmanager
def _full_disk_in_one_line(out: Path) -> Iterator[None]:
    """Raise BlipError for a full disk; it says from where the same command resumes."""
    try:
        yield
    except Exception as error:
        if isinstance(error, BlipError) or not disk_is_full(error):
            raise
        kept = Checkpoints(out, keep=1, save_model=lambda *_: None).last_good()
        from_there = "starts from the beginning" if kept is None else f"resumes from {kept}"
        raise BlipError(
            f"{out}: No space left on device; free some space, then run the same command again: "
            f"it {from_there}"
        ) from error
