"""Annotation files of captioning: BLIP's own JSON lists, COCO's own form and Karpathy's splits."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from blip.config.strict import load_json
from blip.data.keys import storable, with_safe_keys
from blip.data.readers.chosen import choose, read_alone
from blip.data.readers.delimited import BROKEN_ROW
from blip.data.readers.folders import read_file
from blip.data.readers.tables import find_columns, refuse_urls, refuse_videos
from blip.data.sample import DOMAIN, IMAGE_KEY, OFFICIAL_ID, Sample
from blip.data.texts import list_names, sound_texts, without_point
from blip.errors import UsageError

FORMS = (
    'a list of {"image": ..., "caption": ...}, '
    'COCO\'s {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}, '
    'Karpathy\'s {"images": [{"filename", "sentences"}]}, the files of VQA v2, NLVR2 and VisDial'
)


@dataclass(slots=True)
class Annotated:
    """An image of an annotation file with its captions, or an entry that cannot be read."""

    name: str | None
    values: list[Any] = field(default_factory=list)
    """Captions, and whatever stands where captions should."""
    fault: str | None = None
    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else the file says of the image, by the names in `Sample.meta`."""


def read_annotations(
    path: Path,
    images: Path,
    split: str | None = None,
    start: int = 0,
    stop: int | None = None,
    *,
    need_text: bool = True,
) -> Iterator[Sample]:
    """Samples of an annotation file in one of the `FORMS`.

    Image paths are relative to `images`; entries that name the same image are one sample. `split`
    chooses among Karpathy's train, restval, val and test. Of the images `start` to `stop` alone,
    where given. An entry that cannot be read is a sample with `error`; of a list the first must
    have a caption where `need_text` says so. Raises UsageError for another form, and for a split
    that the file does not have.
    """
    chosen = islice(list_annotated(path, split, need_text=need_text), start, stop)
    yield from with_safe_keys(_samples(chosen, images, path.stem), "entry", start)


def read_annotations_at(
    path: Path,
    images: Path,
    numbers: Collection[int],
    split: str | None = None,
    *,
    need_text: bool = True,
) -> Iterator[tuple[int, Sample]]:
    """Some images of an annotation file with their numbers, as `read_annotations` reads each alone.

    The file is parsed once.
    """
    chosen = choose(enumerate(list_annotated(path, split, need_text=need_text)), numbers)
    return read_alone(chosen, partial(_samples, images=images, place=path.stem), "entry")


def _samples(chosen: Iterable[Annotated], images: Path, place: str) -> Iterator[Sample]:
    for entry in chosen:
        if entry.name is None:
            yield Sample("", None, error=entry.fault)
            continue
        content, extension = read_file(images / entry.name)
        texts, error = sound_texts(entry.values)
        error = "missing_image" if content is None else error
        name = storable(entry.name)
        meta = {**entry.meta, "image": name, IMAGE_KEY: f"{place}/{name}"}
        yield Sample(entry.name, content, texts, meta, error, extension)


def list_annotated(
    path: Path, split: str | None = None, *, need_text: bool = True
) -> list[Annotated]:
    """What the file says of each image, in the file's order; raises UsageError for another form."""
    data = load_json(path)
    head = data[0] if isinstance(data, list) and data else data
    if isinstance(head, dict) and "images" not in head:
        refuse_videos(list(head), path)
    if isinstance(data, dict) and isinstance(data.get("images"), list):
        images, annotations = data["images"], data.get("annotations")
        if split is not None:
            images = _of_split(images, split, path)
        if annotations is None and _lists_pictures_alone(images):
            if need_text:
                raise UsageError(
                    f"{path} lists images without captions; `blip evaluate --task caption` and "
                    "`blip index` take it"
                )
            annotations = []
        coco = isinstance(annotations, list)
        entries = _coco(images, annotations, path) if coco else _karpathy(images, path)
    elif isinstance(data, list):
        if split is not None:
            data = _of_split(data, split, path)
        entries = _plain(data, path, need_text=need_text)
    else:
        raise UsageError(f"{path} is not an annotation file that can be read; allowed: {FORMS}")
    annotated: list[Annotated] = []
    of_name: dict[str, Annotated] = {}
    for entry in entries:
        same = entry if entry.name is None else of_name.setdefault(entry.name, entry)
        if same is entry:
            annotated.append(entry)
        else:
            same.values += entry.values
    return annotated


def _of_split(entries: list[Any], split: str, path: Path) -> list[Any]:
    names = [entry.get("split") if isinstance(entry, dict) else None for entry in entries]
    there = sorted({name for name in names if isinstance(name, str)})
    if not there:
        raise UsageError(f'--split {split}: the entries of {path} have no "split"')
    if split not in there:
        raise UsageError(f"--split {split}: {path} has the splits {list_names(there)}")
    return [entry for entry, name in zip(entries, names, strict=True) if name == split]


def _lists_pictures_alone(images: list[Any]) -> bool:
    """Whether a file is of COCO's form but for captions, which a server keeps for test sets."""
    named = [image for image in images if _name(image, ("file_name", "filename")) is not None]
    return bool(named) and all("id" in image and "sentences" not in image for image in named)


def _karpathy(images: list[Any], path: Path) -> Iterator[Annotated]:
    for number, image in enumerate(images):
        name = _name(image, ("filename", "file_name"))
        sentences = image.get("sentences") if name is not None else None
        if name is None or not isinstance(sentences, list):
            yield _broken(path, number, 'image {} has no "filename" and "sentences"')
            continue
        folder = image.get("filepath")
        if isinstance(folder, str) and folder:
            name = str(PurePosixPath(folder) / name)
        yield Annotated(name, [_sentence(sentence) for sentence in sentences])


def _sentence(sentence: Any) -> Any:
    if not isinstance(sentence, dict):
        return sentence
    tokens = sentence.get("tokens")
    if "raw" in sentence or not isinstance(tokens, list):
        return sentence.get("raw", sentence)
    return " ".join(tokens) if all(isinstance(t, str) for t in tokens) else sentence


def _coco(images: list[Any], annotations: list[Any], path: Path) -> Iterator[Annotated]:
    if annotations and not any(isinstance(a, dict) and "caption" in a for a in annotations):
        raise UsageError(
            f'the "annotations" of {path} have no "caption"; COCO has its captions in files called '
            "captions_*.json"
        )
    of_id: dict[Any, list[Any]] = {}
    orphans: list[int] = []
    ids = {_id(image, "id") for image in images} - {None}
    for number, annotation in enumerate(annotations):
        image_id = _id(annotation, "image_id")
        if image_id in ids:
            of_id.setdefault(image_id, []).append(annotation.get("caption"))
        else:
            orphans.append(number)
    for number, image in enumerate(images):
        name, own = _name(image, ("file_name", "filename")), _id(image, "id")
        if name is None or own is None:
            yield _broken(path, number, 'image {} has no "id" and "file_name"')
        else:
            # An image that is listed again has its captions already.
            yield Annotated(name, of_id.pop(own, []), meta=_meta(own, image.get("domain")))
    for number in orphans:
        yield Annotated(
            None, fault=f"{BROKEN_ROW}: annotation {number} has an image_id that no image has"
        )


def _meta(number: int | str, domain: Any) -> dict[str, Any]:
    """The number of an image of COCO's layout, and the domain that NoCaps gives it."""
    return {
        **({OFFICIAL_ID: number} if isinstance(number, int) else {}),
        **({DOMAIN: storable(domain)} if isinstance(domain, str) and domain else {}),
    }


def _plain(entries: list[Any], path: Path, *, need_text: bool) -> Iterator[Annotated]:
    for number, entry in enumerate(entries):
        columns = find_columns(list(entry)) if isinstance(entry, dict) else None
        if columns is not None and number == 0:
            refuse_urls((entry[name] for name in (columns.image or columns.url,) if name), path)
        # A later image may lack a caption, as it may have null for one.
        first = need_text and number == 0
        if columns is None or columns.image is None or (first and columns.text is None):
            yield _broken(path, number, 'entry {} has no "image" and "caption"')
            continue
        name, captions = entry[columns.image], entry.get(columns.text)
        if not isinstance(name, str) or not name.strip():
            yield Annotated(None, fault="missing_image")
            continue
        yield Annotated(name, list(captions) if isinstance(captions, list) else [captions])


def _name(image: Any, known: tuple[str, ...]) -> str | None:
    """The file of an image; None where it names none."""
    if not isinstance(image, dict):
        return None
    names = (image.get(name) for name in known)
    return next((name for name in names if isinstance(name, str) and name.strip()), None)


def _id(entry: Any, name: str) -> int | str | None:
    """The number or the text that identifies an image; None if there is none."""
    own = without_point(entry.get(name)) if isinstance(entry, dict) else None
    return own if isinstance(own, int | str) else None


def _broken(path: Path, number: int, reason: str) -> Annotated:
    """An entry with a fault; raises UsageError for the first, as the file has another form then."""
    reason = reason.format(number)
    if number == 0:
        raise UsageError(f"{path}: {reason}; allowed: {FORMS}")
    return Annotated(None, fault=f"{BROKEN_ROW}: {reason}")
