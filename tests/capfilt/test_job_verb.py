"""The verb on real checkpoints of the smallest size: broken data, kills, workers, interrupts."""

import json
import os
import signal

import pytest

from blip.capfilt.ledger.files import read_rows
from blip.cli.main import main
from blip.data.readers.shards import read_shard
from tests.support.capfilt import output_bytes
from tests.support.capfilt_command import jpeg, options, start, wait_for, web
from tests.support.tars import write_tar

# Those that are killed or interrupted start anew; the others may be forked.
pytestmark = pytest.mark.usefixtures("forked_workers")


def test_workers_and_kills_change_no_byte(models, tmp_path, capsys):
    data = web(tmp_path / "web", shards=4, samples=16)
    assert main(options(models, data, tmp_path / "one", "--workers", "1")) == 0
    assert "report.html" in capsys.readouterr().out
    whole = output_bytes(tmp_path / "one")
    summary = json.loads(whole["summary.json"])
    assert summary["images"] == 64
    assert 0 < summary["web_kept"] + summary["synthetic_kept"] < 128, "nothing to tell apart"

    two_workers = options(models, data, tmp_path / "two", "--workers", "2")
    killed = start(two_workers)
    try:
        wait_for(lambda: list((tmp_path / "two").glob("done/*.json")))
    finally:
        killed.send_signal(signal.SIGKILL)
        # The pipe ends with the last process that holds it: no worker outlives its driver.
        killed.communicate(timeout=60)
    assert not (tmp_path / "two/summary.json").exists(), "the kill came too late"
    assert main(two_workers) == 0
    assert output_bytes(tmp_path / "two") == whole


def test_bfloat16_gives_bytes_of_its_own_the_same_for_any_workers(models, tmp_path, capsys):
    data = web(tmp_path / "web", shards=2, samples=12)
    for workers in ("1", "2"):
        more = ("--workers", workers, "--precision", "bfloat16")
        assert main(options(models, data, tmp_path / workers, *more)) == 0
        assert "4 images at a time in bfloat16" in capsys.readouterr().err
    assert output_bytes(tmp_path / "1") == output_bytes(tmp_path / "2")
    for path in (tmp_path / "1/done").iterdir():
        assert json.loads(path.read_text())["settings"]["precision"] == "bfloat16"
    assert main(options(models, data, tmp_path / "plain", "--precision", "float32")) == 0
    rough, exact = (
        {
            (row["key"], row["text"]): row["itm_score"]
            for row in read_rows(sorted((tmp_path / out / "ledger").glob("*.parquet")))
            if row["source"] == "web"
        }
        for out in ("1", "plain")
    )
    assert rough != exact
    # Eight bits of a number, of which the larger weights above leave less.
    assert rough == pytest.approx(exact, abs=0.1)
    capsys.readouterr()
    out = tmp_path / "1"
    assert main(options(models, data, out, "--precision", "float32")) == 2
    assert "precision bfloat16 (now float32); --overwrite replaces it" in capsys.readouterr().err
    assert main(options(models, data, out)) == 0, "auto resumes as the job began"


def test_an_interrupt_says_how_to_go_on(models, tmp_path):
    data = web(tmp_path / "web", shards=4, samples=80)
    job = start(options(models, data, tmp_path / "out", "--workers", "2"))
    wait_for(lambda: list((tmp_path / "out").glob(".parts/*")))
    os.killpg(job.pid, signal.SIGINT)
    _, output = job.communicate(timeout=60)
    assert job.returncode == 130, output
    assert "run the same command again to resume" in output
    assert "Traceback" not in output


def test_a_broken_data_set_finishes_and_the_ledger_names_each(models, tmp_path):
    whole = jpeg(1)
    write_tar(
        tmp_path / "web.tar",
        [
            ("good.jpg", whole),
            ("good.txt", b"a red square"),
            ("truncated.jpg", jpeg(2)[:400]),
            ("truncated.txt", b"a red square"),
            ("foreign.jpg", b"I am a text file"),
            ("foreign.txt", b"a red square"),
            ("silent.jpg", jpeg(3)),
            ("silent.txt", b""),
            ("missing.txt", b"a red square"),
            ("good.jpg", whole),
            ("good.txt", b"a green circle"),
        ],
    )
    out = tmp_path / "out"
    assert main(options(models, tmp_path / "web.tar", out, "--threshold", "0")) == 0
    rows = list(read_rows(sorted((out / "ledger").glob("*.parquet"))))
    assert [(row["key"], row["source"], row["reason"]) for row in rows] == [
        ("good", "web", "match"),
        ("good", "synthetic", "match"),
        ("truncated", "bad", "truncated_image"),
        ("foreign", "bad", "not_an_image"),
        ("silent", "web", "empty_text"),
        ("silent", "synthetic", "match"),
        ("missing", "bad", "missing_image"),
        ("good", "bad", "duplicate_key"),
    ]
    written = list(read_shard(out / "shards/web.tar"))
    assert [s.key for s in written] == ["good-web", "good-synthetic-0", "silent-synthetic-0"]
    assert written[1].meta["original"] == "a red square"
    counts = json.loads((out / "summary.json").read_text())
    assert (counts["images"], counts["images_kept"], counts["images_bad"]) == (6, 2, 4)
    assert "truncated_image" in (out / "report.html").read_text()


def test_bad_arguments_end_in_one_line(models, tmp_path, capsys):
    data = web(tmp_path / "web", shards=1, samples=2)
    for more, named in {
        ("--threshold", "2"): "--threshold is 2.0; allowed: a finite number from 0 to 1",
        ("--max-bad", "many"): "--max-bad is many; allowed: a share",
        ("--captioner", str(tmp_path)): str(tmp_path),
        ("--data", str(tmp_path / "none*.tar")): "none*.tar",
        ("--device", "gpu"): "--device is 'gpu'; allowed: auto, cpu",
    }.items():
        assert main(options(models, data, tmp_path / "out", *more)) == 2
        printed = capsys.readouterr().err
        assert named in printed
        assert printed.strip().count("\n") == 0, printed


def test_a_job_that_keeps_nothing_says_what_to_try(models, tmp_path, capsys):
    data = web(tmp_path / "web", shards=1, samples=8)
    out = tmp_path / "out"
    for more in ([], ["--json"]):
        assert main(options(models, data, out, "--threshold", "1", *more)) == 0
        printed, said = capsys.readouterr()
        assert f"no text was kept; {out}/report.html shows the scores" in said
        assert f"`blip capfilt recut {out} --threshold P --out DIR` applies another" in said
        assert ("bad                          0\n" in printed) is not bool(more)
    assert "capfilt: nothing to do, 1 shard done already" in said


def test_the_config_in_the_output_does_the_job_again(models, tmp_path, capsys):
    data = web(tmp_path / "web", shards=1, samples=6)
    assert main(options(models, data, tmp_path / "out", "--decode", "beam", "--captions", "2")) == 0
    again = ["capfilt", str(tmp_path / "out/config.json"), "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert output_bytes(tmp_path / "out") == output_bytes(tmp_path / "again")
    capsys.readouterr()
    assert main([*again, "--threshold", "0.9"]) == 2
    assert "threshold 0.5 (now 0.9)" in capsys.readouterr().err


def test_a_dry_run_says_how_much_it_is_and_writes_nothing(models, tmp_path, capsys):
    data = web(tmp_path / "web", shards=3, samples=20)
    out = tmp_path / "out"
    assert main(options(models, data, out, "--workers", "2", "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "shards     3, 0 of them done already\n" in printed
    assert "images     about 60 to be done, 2 texts or more each\n" in printed
    assert "at a time  4 images in float32\n" in printed
    assert " with 2 workers\n" in printed
    assert " are free\n" in printed
    assert "by         8 images in " in printed
    assert not out.exists()
    assert main(options(models, data, out)) == 0
    capsys.readouterr()
    assert main(options(models, data, out, "--dry-run")) == 0
    assert "3, 3 of them done already\nimages     about 0 to be done" in capsys.readouterr().out


def test_a_dry_run_takes_what_no_utf8_holds(models, tmp_path, capsys):
    members = [("a.jpg", jpeg(1)), ("a.json", b'{"odd": "\\ud800", "captions": ["red \\ud800"]}')]
    data = write_tar(tmp_path / "web.tar", members)
    assert main(options(models, data, tmp_path / "out", "--dry-run")) == 0
    assert "by         1 images in " in capsys.readouterr().out
