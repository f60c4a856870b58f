"""Each message of the troubleshooting page is provoked here, by what a user would type."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from blip.cli.main import main
from blip.model.checkpoint import released
from blip.stage import exclusive_lock
from tests.support.docs_folder import save_docs_folder
from tests.support.pages import ROOT
from tests.support.small_disk import small_disk

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE.partition("\n## ")[0], re.MULTILINE)
TRAINING = (
    "finetune captioner coco --init runs/base --data.sources photos --data.stream never "
    "--data.image.size 32 --data.batch_size 2 --data.max_tokens 12 --data.workers 0 "
    "--train.precision float32 --train.device cpu --train.steps 20"
)
OVERFLOW = "--train.optimizer.lr 1000 --train.optimizer.weight_decay 1000 --train.max_nonfinite 2"

Patch = pytest.MonkeyPatch


def nothing(_: Patch) -> None:
    """As it is."""


def without_faiss(patch: Patch) -> None:
    patch.setitem(sys.modules, "faiss", None)


def with_other_weights(_: Patch) -> None:
    path = Path("runs/captioner/config.json")
    config = json.loads(path.read_text())
    config["vision"]["width"] = 48
    path.write_text(json.dumps(config))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def with_cut_weights(_: Patch) -> None:
    cut(Path("runs/captioner/model.safetensors"))


def with_a_cut_file(_: Patch) -> None:
    assert main(shlex.split("convert runs/captioner model.pth --to original")) == 0
    cut(Path("model.pth"))


def without_network(patch: Patch) -> None:
    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    patch.setattr(released, "ORIGINAL_URL", "http://127.0.0.1:1/")
    # The library waits between its attempts.
    patch.setattr("time.sleep", lambda _: None)


def offline(patch: Patch) -> None:
    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def without_gpu(_: Patch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")


def with_addresses(_: Patch) -> None:
    Path("crawl.csv").write_text("url,caption\nhttps://example.org/a.jpg,a dog\n")


def with_an_unfinished_pack(_: Patch) -> None:
    assert main(shlex.split("data pack photos packed")) == 0
    path = Path("packed/.pack.json")
    path.write_text(path.read_text().replace('"finished"', '"writing"'))


def with_a_run_of_other_settings(_: Patch) -> None:
    assert main(shlex.split(f"{TRAINING} --out run {OVERFLOW} --train.checkpoint_every 1")) == 1


PROVOKED: dict[str, tuple[Callable[[Patch], None], str, int]] = {
    "is not installed": (without_faiss, "search photos.index 'a dog'", 2),
    "this model has no": (nothing, "match runs/captioner photo.jpg 'a dog'", 2),
    "does not fit": (with_other_weights, "caption runs/captioner photo.jpg", 1),
    "cannot be read as weights": (with_a_cut_file, "caption model.pth photo.jpg", 1),
    "is truncated or not a safetensors file": (
        with_cut_weights, "caption runs/captioner photo.jpg", 1,
    ),
    "cannot be downloaded": (without_network, "caption original:model_base photo.jpg", 1),
    "forbids downloading it": (offline, "caption original:model_base photo.jpg", 1),
    "but torch finds no GPU here": (
        without_gpu, "caption runs/captioner photo.jpg --device cuda", 2,
    ),
    "with img2dataset first": (with_addresses, "data pack crawl.csv packed", 2),
    "no shards at": (nothing, "evaluate runs/filter --data 'nothing/*.tar'", 2),
    "is not finished": (with_an_unfinished_pack, "data inspect packed", 2),
    "was started with another configuration": (
        with_a_run_of_other_settings, f"{TRAINING} --out run", 2,
    ),
    "updates in a row had no finite loss or gradient": (
        nothing, f"{TRAINING} --out run {OVERFLOW}", 1,
    ),
    "another run is writing to": (nothing, "evaluate runs/filter --data photos --out locked", 2),
    "No space left on device": (nothing, f"{TRAINING} --out small/run", 1),
}  # fmt: skip
"""By message: what is wrong, what is typed, and the exit status."""


def test_every_message_of_the_page_is_provoked() -> None:
    assert list(dict.fromkeys(MESSAGES)) == MESSAGES
    assert sorted(MESSAGES) == sorted(PROVOKED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_docs_folder(tmp_path_factory.mktemp("docs") / "all")


@pytest.mark.parametrize("message", PROVOKED)
def test_what_is_typed_gives_the_message(
    message: str, folder: Path, tmp_path: Path, monkeypatch: Patch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    prepare, typed, status = PROVOKED[message]
    prepare(monkeypatch)
    capfd.readouterr()
    if "locked" in typed:
        Path("locked").mkdir()
        with exclusive_lock(Path("locked")):
            found = main(shlex.split(typed))
    elif "small/" in typed:
        with small_disk(tmp_path / "small", "64k"):
            found = main(shlex.split(typed))
    else:
        found = main(shlex.split(typed))
    error = capfd.readouterr().err.splitlines()[-1]
    assert message in error
    assert error.startswith("blip: error: ")
    assert found == status, error
