"""A collection in any form, copied into shards; samples without picture or text are left out."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from blip.config.strict import to_json
from blip.data.annotations.forms import TASK_FIELDS
from blip.data.config import Collection
from blip.data.faults import BadSampleError, BadSamples, Fault, describe_counts
from blip.data.images import EncodedImage, one_large_picture_at_a_time
from blip.data.readers.patterns import PACKED, match_paths, read_packed
from blip.data.readers.remote import is_remote
from blip.data.readers.sources import read_samples
from blip.data.readers.video_places import find_only_videos
from blip.data.readers.videos import read_videos
from blip.data.sample import IMAGE_KEY, Sample
from blip.data.texts import MISSING, TEXT_FAULTS
from blip.data.videos.facts import read_facts
from blip.data.writers.card import describe_shards
from blip.data.writers.shards import write_shards
from blip.errors import BlipError, UsageError
from blip.files import report_disk_errors, write_json
from blip.installed import need
from blip.log import progress, say
from blip.outputs import PACK, claim, refuse_inputs_as_output, remove_known
from blip.stage import exclusive_lock

THREADS = 8
TOGETHER, BYTES_TOGETHER = 32, 64 << 20
"""Samples, and bytes of them, that are read before their pictures are decoded side by side."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written, and what was not."""

    samples: int
    shards: int
    left_out: dict[str, int]
    """Samples, and texts of samples that have others, by the reason why they were left out."""

    def describe_left_out(self) -> str:
        """The reasons and their numbers in words; empty where nothing was left out."""
        return describe_counts(self.left_out)


def pack_collection(collection: Collection, out: Path, *, overwrite: bool = False) -> Packed:
    """Write a collection to `out/00000.tar`, ..., and `sizes.json` and a card beside them.

    Until it is finished, `out/.pack.json` says so, and readers refuse the folder; the same call
    writes a pack that was stopped anew. Raises UsageError if the source cannot be read, or
    shards lie in `out` already, and BlipError if nothing was left to write.
    """
    if is_remote(collection.source):
        raise UsageError(
            f"{collection.source} is remote, and only local files are packed; trainings, "
            "`blip capfilt` and `blip data inspect` read remote shards themselves"
        )
    inputs = [collection.source, *match_paths(collection.source)]
    refuse_inputs_as_output(inputs, out, PACK)
    samples = _read(collection)
    # A source that cannot be read raises here, before anything is written.
    first = next(samples, None)
    if first is None:
        raise BlipError(f"nothing was packed: {collection.source} holds no samples")
    with report_disk_errors(out), exclusive_lock(out):
        _begin(collection, out, overwrite=overwrite)
        bad = BadSamples()
        sound = _sound(chain([first], samples), collection, bad)
        counts = write_shards(sound, out, collection.per_shard)
        packed = Packed(counts["samples"], counts["shards"], dict(bad.counts))
        if not packed.samples:
            (out / PACKED).unlink()
            raise BlipError(
                f"nothing was packed of {collection.source}; "
                f"left out: {packed.describe_left_out()}, "
                f"the first: {bad.first[0].key} {bad.first[0].reason}" + _hint(packed)
            )
        describe_shards(out, _sizes(packed, collection.per_shard))
        done = {
            "state": "finished",
            "samples": packed.samples,
            "left_out": packed.left_out,
            "first_left_out": [[fault.key, fault.reason] for fault in bad.first],
        }
        write_json(out / PACKED, {**to_json(collection), **done})
    return packed


def _read(collection: Collection) -> Iterator[Sample]:
    """The videos of a source that holds nothing else, or the samples of any other."""
    videos = find_only_videos(collection.source)
    if videos:
        need("av", "PyAV", "video")
        if collection.images is not None and not collection.images.is_dir():
            raise UsageError(f"--images {collection.images}: no such folder")
        return read_videos(videos, collection.images, collection.split)
    return read_samples(
        collection.source,
        collection.images,
        collection.split,
        need_text=not collection.allow_missing_text,
    )


def _begin(collection: Collection, out: Path, *, overwrite: bool) -> None:
    """Take the folder; remove what an earlier pack left in it, where that may be removed."""
    marker = read_packed(out)
    if marker is None and any(out.glob("*.tar")):
        raise UsageError(f"{out} holds shards already; choose another folder")
    claim(out, PACK)
    if marker is not None and not overwrite:
        asked = to_json(collection)
        changes = ", ".join(
            f"{name} {marker.get(name)} (now {value})"
            for name, value in asked.items()
            if marker.get(name) != value
        )
        if marker.get("state") == "finished":
            raise UsageError(
                f"{out} holds shards already, packed from {marker.get('source')}"
                f"{f' with {changes}' if changes else ''}; choose another folder, or replace them "
                "with --overwrite"
            )
        if changes:
            raise UsageError(
                f"{out} holds a pack that was stopped, with {changes}; choose another folder, or "
                "replace it with --overwrite"
            )
        say(f"pack: {out} was not finished; writing it from the beginning")
    # First: a process that is killed while it removes files must not leave "finished" behind.
    write_json(out / PACKED, {**to_json(collection), "state": "begun"})
    remove_known(out, [name for name in PACK.files if name != PACKED])


def _sound(samples: Iterable[Sample], collection: Collection, bad: BadSamples) -> Iterator[Sample]:
    """The samples, with `error` where one is not to be packed; shows how far it is.

    What is left out is counted in `bad`: samples, and bad texts of samples that have others.
    """
    with progress(None, "pack", "samples") as bar:
        for given, sample, fault in _checked(samples, collection):
            lost = given.error if sample.error is None else None
            name = str(sample.meta.get(IMAGE_KEY, sample.key))
            bad.add(Fault("", name, reason) for reason in (lost, fault) if reason is not None)
            yield replace(sample, error=fault)
            bar.advance()


def _checked(
    samples: Iterable[Sample], collection: Collection
) -> Iterator[tuple[Sample, Sample, str | None]]:
    """Samples, what of each can be packed, and why it cannot; pictures are decoded by threads."""
    remaining = iter(samples)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        while given := _some(remaining):
            usable = list(map(_without_bad_texts, given))
            faults = pool.map(partial(_fault, collection=collection), usable)
            yield from zip(given, usable, faults, strict=True)


def _some(samples: Iterator[Sample]) -> list[Sample]:
    """The next samples, as many as memory easily holds."""
    taken, size = list[Sample](), 0
    for sample in samples:
        taken.append(sample)
        video = sample.video if isinstance(sample.video, bytes) else b""
        size += sum(map(len, (sample.image or b"", video, *sample.more_images)))
        if len(taken) == TOGETHER or size >= BYTES_TOGETHER:
            break
    return taken


def _without_bad_texts(sample: Sample) -> Sample:
    """The sample with its sound texts alone, where others are bad."""
    reason = (sample.error or "").partition(":")[0]
    partly = reason in TEXT_FAULTS and any(sample.texts)
    texts = tuple(text for text in sample.texts if text)
    return replace(sample, texts=texts, error=None if partly else sample.error)


def _fault(sample: Sample, collection: Collection) -> str | None:
    """Why a sample is left out; None where it is not."""
    if sample.error not in (None, MISSING):
        return sample.error
    if sample.image is None and sample.video is None:
        return "missing_image"
    # Questions, statements and dialogues are read from KEY.json.
    has_others = any(sample.meta.get(name) for name in TASK_FIELDS)
    needs_text = not collection.allow_missing_text and not has_others
    if needs_text and not any(sample.texts):
        return MISSING
    try:
        if sample.video is not None:
            read_facts(sample.video, collection.max_pixels)
        for content in (sample.image, *sample.more_images) if sample.image is not None else ():
            with one_large_picture_at_a_time(content, collection.max_pixels):
                image = EncodedImage(content, collection.max_pixels)
                # To an eighth, a JPEG is read to its end all the same.
                image.decode(8 if image.shrinks else 1)
    except BadSampleError as bad:
        return str(bad)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return None


def _sizes(packed: Packed, per_shard: int) -> dict[str, int]:
    """Samples of each shard by its name: all but the last are full."""
    return {
        f"{shard:05d}.tar": min(per_shard, packed.samples - shard * per_shard)
        for shard in range(packed.shards)
    }


def _hint(packed: Packed) -> str:
    if packed.left_out.keys() == {MISSING}:
        return " (--allow-missing-text packs pictures that CapFilt is to caption)"
    return ""
