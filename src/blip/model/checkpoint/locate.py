"""Find the file of the weights that the name of a checkpoint stands for."""

from pathlib import Path

from blip.errors import UsageError
from blip.model.checkpoint.released import RELEASES, fetch_huggingface, fetch_original
from blip.model.checkpoint.tensors import INDEX
from blip.outputs import EXPORTED, SIZES, WEIGHTS

HUB, ORIGINAL = "hf:", "original:"
PICKLED = "pytorch_model.bin"
FILES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
IN_FOLDERS = (WEIGHTS, f"{WEIGHTS}{INDEX}", PICKLED, f"{PICKLED}{INDEX}")
"""Names of the weights in a folder; an index names several files."""


def find_weights(source: str | Path) -> Path:
    """The file of the weights of the checkpoint `source`.

    `source` is a folder of a checkpoint (ours or Hugging Face's), a run's folder, a file of weights
    or the index of several, `hf:ORG/NAME` or `original:NAME`; the last two are downloaded unless
    they are cached. Raises UsageError, which lists the checkpoints below the folder, if there is
    none, and BlipError if a download fails.
    """
    text = str(source)
    if text.startswith(HUB):
        return _in_folder(fetch_huggingface(text.removeprefix(HUB)))
    if text.startswith(ORIGINAL):
        return fetch_original(text.removeprefix(ORIGINAL))
    if "://" in text:
        raise UsageError(
            f"{text} is a URL, and a checkpoint is not read from one; "
            "download it, or name a released one: hf:ORG/NAME or original:NAME"
        )
    path = Path(source)
    if path.is_file():
        if path.suffix not in FILES and not path.name.endswith(INDEX):
            raise UsageError(
                f"{path} is not a file of weights; allowed: {', '.join(FILES)}, {INDEX}"
            )
        return path
    if not path.exists():
        raise UsageError(f"no checkpoint at {path}: no such folder or file{_hint(text)}")
    return _in_folder(path)


def _hint(text: str) -> str:
    """How the name of a released checkpoint is written, for one that another library takes."""
    names = (HUB + text, ORIGINAL + Path(text).name.removesuffix(".pth"))
    known = [name for name in names if name in {release.name for release in RELEASES}]
    return f"; the released one is {known[0]}" if known else ""


def _in_folder(path: Path) -> Path:
    for folder in (path, path / "checkpoint"):
        for name in IN_FOLDERS:
            if (folder / name).is_file() and (folder / SIZES).is_file():
                return folder / name
    if (path / EXPORTED).is_file():
        raise UsageError(
            f"{path} holds exported graphs, which `blip caption`, `blip match`, blip.OnnxCaptioner "
            "and blip.OnnxMatcher read; name the checkpoint that was exported"
        )
    below = sorted(
        str(found.parent.parent if found.parent.name == "checkpoint" else found.parent)
        for found in path.glob(f"**/checkpoint/{WEIGHTS}")
    )
    weight_files = sorted(str(found) for found in path.iterdir() if found.suffix in FILES)
    hint = f"; it holds {', '.join(below[:6])}" if below else f" (it has no {WEIGHTS})"
    if not below and weight_files:
        # A folder without config.json, or with weights of another name.
        hint = f", which has {SIZES} and {WEIGHTS}; name a file: {', '.join(weight_files[:6])}"
    raise UsageError(f"{path} is not a checkpoint folder{hint}")
