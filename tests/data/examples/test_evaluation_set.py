"""A set to judge by: the texts of an image together, what is bad left out and named."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.images import decode_image
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter, write_shards
from blip.errors import BlipError
from tests.support.pictures import photo


def of_image(key: str, number: int, text: str, image_key: str) -> Sample:
    return Sample(key, photo(number), (text,), {"image_key": image_key})


def test_the_order_is_that_of_the_shards(tmp_path: Path) -> None:
    write_shards([Sample(f"h{i}", photo(i), (f"human {i}", f"{i}")) for i in range(4)], tmp_path, 3)
    data = EvaluationSet([str(tmp_path)], 16)
    assert data.keys == ["h0", "h1", "h2", "h3"]
    assert data.texts[1] == ["human 1", "1"]
    assert data.images(1, 3).shape == (2, 3, 16, 16)
    assert not data.bad


@pytest.mark.parametrize("form", ["{0}/00000.tar.gz", "file://{0}/s.tar", "pipe:cat {0}/s.tar"])
def test_compressed_tars_and_remote_ones_are_read_between_others(tmp_path: Path, form: str) -> None:
    (tmp_path / "b").mkdir()
    for name, key in (("a", "first"), ("b", "second"), ("c", "third")):
        write_shards([Sample(key, photo(1), (key,)), Sample("x", b"", ("x",))], tmp_path / name, 2)
    packed = (tmp_path / "b/00000.tar").rename(tmp_path / "b/s.tar").read_bytes()
    (tmp_path / "b/00000.tar.gz").write_bytes(gzip.compress(packed))
    places = [str(tmp_path / "a"), form.format(tmp_path / "b"), str(tmp_path / "c")]
    data = EvaluationSet(places, 16)
    assert data.keys == ["first", "second", "third"]
    assert data.texts == [["first"], ["second"], ["third"]]
    assert data.bad.counts == {"empty_file": 3}


def test_a_command_that_fails_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blip.data.readers.remote.ATTEMPTS", 1)
    with pytest.raises(BlipError, match="cannot run pipe:false: exit status 1"):
        EvaluationSet(["pipe:false"], 16)


def test_samples_of_one_image_are_one_across_shards(tmp_path: Path) -> None:
    samples = [of_image(f"{k}-{n}", n, f"{n} {k}", f"t/{n}") for k in range(3) for n in range(4)]
    write_shards(samples, tmp_path, per_shard=5)
    data = EvaluationSet([str(tmp_path)], 16)
    assert data.keys == ["0-0", "0-1", "0-2", "0-3"]
    assert data.texts == [[f"{n} {k}" for k in range(3)] for n in range(4)]


def test_a_broken_picture_is_left_out_and_its_image_judged_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ShardWriter(tmp_path / "0.tar") as writer:
        writer.write("a", photo(0)[:150], "png", "first", {"image_key": "t/a"})
        writer.write("b", photo(0), "png", "second", {"image_key": "t/a"})
        writer.write("c", photo(0)[:200], "png", "third", {"image_key": "t/a"})
        writer.write("d", b"no picture", "jpg", "fourth", {})
        writer.write("e", photo(1), "png", "...", {})
        writer.write("f", photo(2), "png", "", {"captions": ["!", "sixth"]})
    data = EvaluationSet([str(tmp_path)], 16)
    assert data.keys == ["b", "f"]
    assert data.texts == [["second"], ["sixth"]]
    assert data.bad.counts == {"truncated_image": 2, "not_an_image": 1, "empty_caption": 1}
    assert [(key, reason) for _, key, reason in data.bad.first] == [
        ("a", "truncated_image"),
        ("c", "truncated_image"),
        ("d", "not_an_image"),
        ("e", "empty_caption"),
    ]
    line = capsys.readouterr().err
    assert line.startswith("left out: empty_caption 1, not_an_image 1, truncated_image 2 (0.tar a")


def test_the_first_images_come_with_their_next_texts(tmp_path: Path) -> None:
    samples = [of_image(f"{n}-{k}", n, f"{n} {k}", f"t/{n}") for n in range(4) for k in range(2)]
    write_shards(samples, tmp_path)
    data = EvaluationSet([str(tmp_path)], 16, most=2)
    assert data.texts == [["0 0", "0 1"], ["1 0", "1 1"]]


def test_keys_that_repeat_are_kept_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for shard in ("0", "1"):
            with ShardWriter(tmp_path / folder / f"{shard}.tar") as writer:
                writer.write("x", photo(int(shard)), "png", folder + shard, {})
    data = EvaluationSet([str(tmp_path / "a"), str(tmp_path / "b")], 16)
    assert data.keys == ["x", "1/x", "0/x", "b/1/x"]


def test_nothing_to_judge_by_says_why(tmp_path: Path) -> None:
    write_shards([Sample("a", b"no picture", ("text",))], tmp_path)
    with pytest.raises(BlipError, match=r"no usable picture with a text: not_an_image 1"):
        EvaluationSet([str(tmp_path)], 16)


def test_names_that_are_not_utf8_can_be_written(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in (("\udcff.png", photo(0)), ("\udcff.txt", b"a text")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        member = tarfile.TarInfo("\udcfe.png")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"bad"))
    data = EvaluationSet([str(tmp_path)], 16)
    assert len(data.keys) == 1
    json.dumps([data.keys, data.bad.first], ensure_ascii=False).encode()


def test_a_limit_on_pixels_holds_when_pictures_are_read_again(tmp_path: Path) -> None:
    write_shards([Sample(f"k{n}", photo(n), (f"text {n}",)) for n in range(2)], tmp_path)
    width, height = decode_image(photo(0)).size
    with pytest.raises(BlipError, match="too_many_pixels 2"):
        EvaluationSet([str(tmp_path)], 16, max_pixels=width * height - 1)
    data = EvaluationSet([str(tmp_path)], 16, max_pixels=width * height)
    assert data.images(0, 2).shape == (2, 3, 16, 16)
    assert data.picture(1).size == (width, height)
