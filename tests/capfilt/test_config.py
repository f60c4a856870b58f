"""What a job may be asked, and how the command line asks it."""

import argparse
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from blip.capfilt.config import CapFiltConfig, RecutConfig
from blip.cli.capfilt import add_arguments, read_config
from blip.errors import UsageError

NEEDED = CapFiltConfig(captioner="c", filter="f", data=("d",), out="o")


def read(*arguments: str) -> CapFiltConfig:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_config(parser.parse_args(arguments))


def test_int8_is_not_compiled():
    for choice in ("auto", "off"):
        replace(NEEDED, precision="int8", compile=choice)
    with pytest.raises(ValueError, match="allowed: off, with precision int8"):
        replace(NEEDED, precision="int8", compile="on")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", 1.5),
        ("threshold", -0.1),
        ("seed", -1),
        ("seed", 2**63),
        ("captions", -1),
        ("batch_size", 0),
        ("workers", 0),
        ("data", ()),
        ("rows", 0),
        ("device", "gpu"),
        ("captioner_device", "cuda:"),
        ("filter_device", "cuda:x"),
        ("gpus_per_worker", -0.5),
        ("gpus_per_worker", 0.5),
        ("gpus_per_worker", float("nan")),
        ("ray_address", "auto"),
        ("max_bad", "105%"),
        ("max_bad", "some"),
        ("max_bad", -0.5),
    ],
)
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(NEEDED, **{field: value})


@pytest.mark.parametrize(
    ("given", "share"), [(None, None), ("5%", 0.05), ("0.05", 0.05), (0.05, 0.05), ("0%", 0.0)]
)
def test_max_bad_is_a_share_in_any_spelling(given, share):
    assert replace(NEEDED, max_bad=given).bad_share == pytest.approx(share)


def test_options_alone_describe_a_job():
    config = read("--captioner", "c", "--filter", "f", "--data", "a", "b", "--out", "o")
    assert config == replace(NEEDED, data=("a", "b"))
    assert config.decoding.kind == "nucleus"


def test_where_and_how_many_at_a_time_can_be_typed():
    needed = ("--captioner", "c", "--filter", "f", "--data", "d", "--out", "o")
    config = read(*needed, "--engine", "ray", "--ray-address", "h:1", "--gpus-per-worker", "0.5")
    assert config == replace(NEEDED, engine="ray", ray_address="h:1", gpus_per_worker=0.5)
    config = read(*needed, "--device", "cuda", "--captioner-device", "cuda:0")
    assert (config.device, config.captioner_device, config.filter_device) == (
        "cuda",
        "cuda:0",
        None,
    )
    assert [read(*needed, "--batch-size", n).batch_size for n in ("7", "auto")] == [7, "auto"]
    assert read(*needed, "--rows", "5", "--write", "texts").write == "texts"
    assert read(*needed).precision == "auto"
    assert read(*needed, "--precision", "bfloat16").precision == "bfloat16"


@pytest.mark.parametrize(
    ("places", "cpus"),
    [
        ({}, False),
        ({"device": "cpu"}, True),
        ({"device": "cpu", "filter_device": "cuda"}, False),
        ({"captioner_device": "cpu", "filter_device": "cpu"}, True),
    ],
)
def test_a_job_on_cpus_is_one_whose_models_are_both_there(places, cpus):
    assert replace(NEEDED, **places).on_cpus is cpus


def test_a_batch_size_that_is_not_a_number_is_refused():
    with pytest.raises(UsageError, match=r"^--batch-size is 'many'; allowed: auto, or a whole num"):
        read("--batch-size", "many")


def test_the_likeliest_tokens_may_be_bounded():
    needed = ("--captioner", "c", "--filter", "f", "--data", "d", "--out", "o")
    assert read(*needed).decoding.top_k is None
    assert read(*needed, "--top-k", "50").decoding.top_k == 50
    with pytest.raises(UsageError, match="--top-k is 0; allowed: a whole number from 1 "):
        read(*needed, "--top-k", "0")


def test_options_win_over_the_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {
                "captioner": "c",
                "filter": "f",
                "data": ["d"],
                "out": "o",
                "threshold": 0.7,
                "decoding": {"top_p": 0.8},
            }
        )
    )
    config = read(str(path), "--threshold", "0.6", "--max-length", "30")
    assert config.threshold == 0.6
    assert config.decoding == replace(NEEDED.decoding, top_p=0.8, max_length=30)


def test_what_is_missing_or_unknown_is_named(tmp_path):
    with pytest.raises(UsageError, match="--captioner, --out missing"):
        read("--filter", "f", "--data", "d")
    path = tmp_path / "config.json"
    path.write_text('{"captioner": "c", "filter": "f", "data": ["d"], "out": "o", "treshold": 1}')
    with pytest.raises(UsageError, match=r"unknown key `treshold`.*`threshold`"):
        read(str(path))
    path.write_text('{"captioner": "c", "filter": "f", "data": ["d"], "out": "o", "rules": [1]}')
    with pytest.raises(UsageError, match="rules"):
        read(str(path), "--min-words", "2")
    path.write_text("[]")
    with pytest.raises(UsageError, match="JSON object"):
        read(str(path))


def test_data_in_the_place_of_the_configuration_are_told_apart(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption\n")
    (tmp_path / "a.json").write_text('[{"image": "a.jpg", "caption": "a dog"}]')
    for data in (tmp_path, tmp_path / "a.csv", tmp_path / "a.json"):
        with pytest.raises(UsageError, match="--data takes what is to be cleaned"):
            read(str(data))
    with pytest.raises(UsageError, match=r"cannot read .*gone: No such file"):
        read(str(tmp_path / "gone"))


def test_configuration_and_options_load_no_torch():
    code = "import sys, blip.capfilt.config, blip.cli.capfilt; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", [CapFiltConfig, RecutConfig])
def test_output_elsewhere_is_refused(kind):
    needed = {"captioner": "c", "filter": "f", "data": ("d",)}
    given = needed if kind is CapFiltConfig else {"ledger": "l"}
    with pytest.raises(
        ValueError, match="`out` is s3://bucket/clean; allowed: a folder of this machine"
    ):
        kind(out="s3://bucket/clean", **given)


@pytest.mark.parametrize(
    ("decoding", "captions", "message"),
    [
        ("greedy", "2", "--captions is 2; allowed: a whole number from 0 to 1, as greedy decoding"),
        ("beam", "4", "--captions is 4; allowed: a whole number from 0 to 3, as beam search"),
    ],
)
def test_more_captions_than_decoding_gives_are_refused(decoding, captions, message):
    needed = ("--captioner", "c", "--filter", "f", "--data", "d", "--out", "o")
    with pytest.raises(UsageError, match=message):
        read(*needed, "--decode", decoding, "--captions", captions)
    assert read(*needed, "--decode", "beam", "--captions", "4", "--beams", "4").captions == 4
    assert read(*needed, "--decode", "greedy", "--captions", "0").captions == 0
