"""The folder of a bootstrap run: which configuration made it, and which changes are allowed."""

from functools import partial
from pathlib import Path

from blip.config.history import (
    describe_changes,
    find_changes,
    is_earlier_run,
    load_config,
    save_with_stage,
)
from blip.config.strict import save
from blip.errors import UsageError
from blip.log import say
from blip.outputs import BOOTSTRAP, claim
from blip.recipes.config import BootstrapConfig
from blip.stage import BEGUN, MARKER, Stage
from blip.tasks.config import FREE_TO_CHANGE

BUDGETS = ("pretrain", "next_pretrain", "captioner", "filter")
FREE = (
    # Stages side by side have the same shares of the cores, whichever of them are done.
    "parallel",
    *(
        f"{budget}.{key.removeprefix('train.')}"
        for budget in BUDGETS
        for key in FREE_TO_CHANGE
        if key.startswith("train.")
    ),
)
"""Keys that may differ when the run is resumed, as `FREE_TO_CHANGE` says for one training."""
FIRST = ("data", "tokenizer")
"""The first stages; if neither has begun, the folder holds no result."""


class JobFolder:
    """The folder `out` of a run, and its config.json."""

    def __init__(self, out: Path, *, overwrite: bool, allow_change: bool) -> None:
        self.out, self.path = out, out / "config.json"
        self.overwrite, self.allow_change = overwrite, allow_change
        self.is_written = False

    def claim(self) -> None:
        """Mark the folder as ours; raises UsageError if it holds files of something else."""
        ours = partial(is_earlier_run, BootstrapConfig, self.out, BOOTSTRAP)
        claim(self.out, BOOTSTRAP, is_ours=ours)

    def compare(self, config: BootstrapConfig) -> None:
        """Raise UsageError where stages were made with another configuration, unless allowed."""
        begun = [self.out.glob(f"{name}/{file}") for name in FIRST for file in (MARKER, BEGUN)]
        if not self.path.exists() or not any(any(found) for found in begun):
            return
        changes = find_changes(load_config(BootstrapConfig, self.path), config, FREE)
        if not changes:
            return
        described = describe_changes(changes)
        if not self.overwrite and not self.allow_change:
            raise UsageError(
                f"{self.out} was made with another configuration ({described}); --overwrite "
                "repeats the stages that it changes, --allow-change resumes unfinished trainings "
                "with it, another --out keeps both"
            )
        say(f"{self.out}: resuming with {described}")

    def write_config(self, config: BootstrapConfig, stage: Stage | None) -> None:
        """Write config.json once: before the first stage that is not done, or at the end."""
        if self.is_written:
            return
        if stage is not None and self.overwrite:
            save(config, self.path)
        else:
            save_with_stage(config, self.path, stage.name if stage else "summary", FREE)
        self.is_written = True
