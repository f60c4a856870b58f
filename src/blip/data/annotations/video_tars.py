"""Videos of a tar: KEY.mp4 with a text in KEY.txt, or with texts in KEY.json under "captions"."""

import os
from collections.abc import Iterator
from pathlib import Path

from blip.data.readers.archive import is_hidden, is_unsafe, split_name, whole_members
from blip.data.readers.headers import FOLDER, Damage
from blip.data.readers.parts import Parts, make_sample
from blip.data.readers.video_files import VIDEO_EXTENSIONS
from blip.data.sample import Sample
from blip.files import open_regular

VIDEO, TEXT, META = "video", "txt", "json"
PARTS = {TEXT: TEXT, META: META, **dict.fromkeys(VIDEO_EXTENSIONS, VIDEO)}


def read_video_tar(path: Path) -> Iterator[Sample]:
    """A sample a key, with the bytes of its video; what is wrong with the tar comes behind them.

    Raises OSError where the file cannot be read.
    """
    keys: dict[str, dict[str, tuple[int, int]]] = {}
    faults: list[Sample] = []
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        for member in whole_members(file, lambda n: file.seek(n, os.SEEK_CUR), size):
            if isinstance(member, Damage):
                faults.append(Sample("", None, error=f"torn_tar: {member.reason}"))
                continue
            key, suffix = split_name(member.name)
            part = PARTS.get(suffix)
            if is_unsafe(member):
                faults.append(Sample(member.name, None, error="unsafe_name"))
            elif part is not None and member.kind != FOLDER and not is_hidden(member.name):
                parts = keys.setdefault(key, {})
                if part in parts:
                    faults.append(Sample(key, None, error="duplicate_key"))
                parts.setdefault(part, (member.offset, member.size))
        for key, parts in keys.items():
            content = {
                name: os.pread(file.fileno(), size, offset)
                for name, (offset, size) in parts.items()
            }
            texts = Parts(b"", text=content.get(TEXT), meta=content.get(META))
            sample = make_sample(key, texts, duplicate=False)
            yield Sample(key, None, sample.texts, error=sample.error, video=content.get(VIDEO))
    yield from faults
