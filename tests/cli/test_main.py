"""The command itself: its table of verbs, and how errors end."""

import errno
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import tempfile

import pytest

from blip.cli import capfilt, capfilt_report, demo, streams
from blip.cli.main import VERBS, main, overview, parse
from blip.errors import BlipError, UsageError


def fail_with(monkeypatch, error: BaseException) -> int:
    """The status of `blip demo` where its work raises an error; all else is the real command."""

    def run(args):
        raise error

    monkeypatch.setattr(demo, "run", run)
    return main(["demo", "--out", "absent"])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_bare_command_lists_every_verb_with_its_line(arguments, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for verb, line in VERBS.items():
        assert re.search(rf"^  blip {verb} +{re.escape(line)}$", printed, re.MULTILINE)
    assert max(map(len, printed.splitlines())) <= 100


def test_listing_verbs_loads_nothing_heavy():
    code = (
        "import sys; from blip.cli.main import main; main([]); main(['--version']);"
        "heavy = {'torch', 'numpy', 'PIL', 'tokenizers', 'rich'} & sys.modules.keys();"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_loads_no_torch_and_has_examples(verb):
    code = (
        f"import sys; from blip.cli.main import main; status = main(['{verb}', '--help']);"
        "sys.exit('torch' if 'torch' in sys.modules else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: blip {verb}" in done.stdout
    assert f"  blip {verb} " in done.stdout.partition("examples:")[2]


def test_wrong_arguments_are_said_before_torch_is_loaded():
    lines = ["capfilt report absent", "capfilt recut absent --out new", "search absent text"]
    lines += ["compare model absent absent text", "ask model picture right? !"]
    code = (
        "import sys; from blip.cli.main import main;"
        f"statuses = [main(line.split()) for line in {lines}];"
        "sys.exit('torch' if 'torch' in sys.modules else str(statuses))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()
    assert [line.partition("absent")[0] for line in said[:4]] == [
        *["blip: error: no ledger in "] * 2,
        *["blip: error: ", "blip: error: no picture at "],
    ]
    assert said[4:] == ["blip: error: question 2 is '!'; it has no words", "[2, 2, 2, 2, 2]"]


def test_help_verb_is_verb_help(capsys):
    assert main(["help", "match"]) == 0
    assert "usage: blip match" in capsys.readouterr().out


def test_an_action_below_a_verb_has_a_module_and_a_help_of_its_own(monkeypatch, capsys):
    asked: list[str] = []
    monkeypatch.setattr(capfilt_report, "run", lambda args: asked.append(f"report {args.job}") or 0)
    monkeypatch.setattr(capfilt, "run", lambda args: asked.append(f"capfilt {args.config}") or 0)
    assert main(["capfilt", "report", "a_job"]) == 0
    assert main(["capfilt", "reports.json"]) == 0
    assert asked == ["report a_job", "capfilt reports.json"]
    for arguments in (["help", "capfilt", "report"], ["capfilt", "report", "--help"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert "usage: blip capfilt report" in shown
        assert "  blip capfilt report " in shown.partition("examples:")[2]
    assert main(["capfilt", "--help"]) == 0
    afterwards = capsys.readouterr().out.partition("\nafterwards:\n")[2]
    for action, line in capfilt.ACTIONS.items():
        assert re.search(rf"^  blip capfilt {action} +{re.escape(line)}$", afterwards, re.MULTILINE)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"blip \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["capton"], "unknown command 'capton'; did you mean `blip caption`?"),
        (["convert", "a", "b", "c"], "unexpected argument 'c'; see `blip convert --help`"),
        (
            ["match", "c", "a.png", "--json", "cat"],
            "unexpected argument 'cat': give every TEXT before the options; see `blip match",
        ),
        (
            ["caption", "c", "a.png", "--json", "b.png"],
            "unexpected argument 'b.png': give every IMAGE|FOLDER|URL before the options; see",
        ),
        (
            ["data", "pack", "a", "b", "--per-sherd", "9"],
            "unknown option --per-sherd (did you mean --per-shard?); see `blip data pack --help`",
        ),
        (["data", "pakc", "a"], "unknown command 'data pakc'; did you mean `blip data pack`?"),
        (["data", "xyzzy"], "unknown command 'data xyzzy'; allowed: pack, inspect, index, scenes"),
        (["data", "scenes", "--humans", "3"], "--humans (did you mean "),
        (
            ["data", "inspect", "a", "--per-shard", "3"],
            "--per-shard; see `blip data inspect --help`",
        ),
        (
            ["data"],
            "the following arguments are required: pack|inspect|index|scenes; see `blip data",
        ),
        (["caption", "c", "p", "--xyzzy=1"], "unknown option --xyzzy; see"),
        (["xyzzy"], "unknown command 'xyzzy'; allowed: demo, bootstrap, "),
        (["help", "macth"], "did you mean `blip match`?"),
        (
            ["capfilt", "recutt"],
            "unknown command 'capfilt recutt'; did you mean `blip capfilt recut`",
        ),
        (["help", "capfilt", "callibrate"], "did you mean `blip capfilt calibrate`?"),
        (["capfilt", "recut.json"], "cannot read recut.json: No such file or directory"),
        (["match", "checkpoint"], "are required: IMAGE, TEXT; see `blip match --help`"),
        (
            ["demo", "--seed", "many"],
            "--seed is 'many'; allowed: a whole number from 0 ",
        ),
        (
            ["demo", "--sede", "1"],
            "unknown option --sede (did you mean --seed?); see `blip demo --help`",
        ),
        (
            ["convert", "a", "b", "--tu", "hf"],
            "unknown option --tu (did you mean --to?); see `blip convert --help`",
        ),
        (["--frobnicate"], "unknown command '--frobnicate'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("blip: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_file_that_is_named_like_an_action_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recutt").write_text("{}")
    assert main(["capfilt", "recutt"]) == 2
    assert "--captioner, --filter, --data, --out missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (BlipError("the disk is full"), 1, "the disk is full"),
        (UsageError("seed must not be negative, got -1"), 2, "seed must not be negative, got -1"),
        (PermissionError(13, "Permission denied", "out"), 1, "out: Permission denied"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out"),
            1,
            "out: No space left on device; free some space, then run the same command again",
        ),
        (KeyboardInterrupt(), 130, "stopped; run the same command again to resume where possible"),
    ],
)
def test_an_error_for_the_user_is_one_line(error, status, message, monkeypatch, capsys):
    assert fail_with(monkeypatch, error) == status
    assert capsys.readouterr().err == f"blip: error: {message}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("by \x1b[31mzero\nat all"), "ZeroDivisionError: by \\x1b[31mzero (the"),
        (RecursionError("too deep"), "RecursionError: too deep (the traceback is in "),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError: 'utf-8' codec"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"
            ),
            "demo ran out of memory: smaller batches need less ([enforce fail",
        ),
        (
            MemoryError(),
            "demo ran out of memory: smaller batches need less (MemoryError; the trace",
        ),
    ],
)
def test_an_unexpected_error_is_one_line_and_its_traceback_a_file(
    error, message, monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "cache"))
    assert fail_with(monkeypatch, error) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert "Traceback" not in err
    (saved,) = (tmp_path / "cache").glob("blip-error-*.txt")
    assert str(saved) in err
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    text = saved.read_text()
    assert "Traceback (most recent call last)" in text
    assert type(error).__name__ in text
    assert "Python 3" in text


def test_where_no_folder_takes_the_traceback_the_line_says_so(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "file/below"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    assert fail_with(monkeypatch, ZeroDivisionError("x")) == 1
    err = capsys.readouterr().err
    assert "set BLIP_TRACEBACK=1 to print it" in err
    assert err.count("\n") == 1


def test_a_name_that_no_terminal_can_show_does_not_break_the_line(monkeypatch, capsys):
    assert fail_with(monkeypatch, BlipError("cannot read a\udcff\n\x1b]0;b.jpg")) == 1
    assert capsys.readouterr().err == "blip: error: cannot read a\\udcff \\x1b]0;b.jpg\n"


@pytest.mark.parametrize(
    ("redirected", "status", "message"),
    [
        (">&-", 2, "blip: error: stdout is closed; allowed: a file, a pipe, or /dev/null"),
        ("2>&- <&-", 0, ""),
        (">&- 2>&-", 2, ""),
        ("> /dev/full", 1, "blip: error: No space left on device"),
        ("2> /dev/full", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full_end_in_one_line(redirected, status, message):
    command = f"{shlex.quote(sys.executable)} -m blip {redirected}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == bool(message)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict"])
def test_a_text_that_stdout_cannot_encode_is_shown_as_escapes(encoding):
    code = "import sys; from blip.cli import streams; streams.prepare(); print('\\u7ea2 \\udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"\\udcff" in done.stdout


def test_a_traceback_is_printed_where_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("BLIP_TRACEBACK", "1")
    assert fail_with(monkeypatch, UsageError("wrong")) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("blip: error: wrong\n")


def test_traceback_may_stand_before_the_verb(monkeypatch, capsys):
    monkeypatch.setenv("BLIP_TRACEBACK", "")
    assert main(["--traceback", "xyzzy"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_current_folder_that_is_gone_is_one_line(monkeypatch, tmp_path, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main([]) == 0
    capsys.readouterr()
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    printed = "cannot work in the current folder (No such file or directory); change to another one"
    assert capsys.readouterr().err == f"blip: error: {printed}\n"
    monkeypatch.chdir(tmp_path)


def test_a_second_ctrl_c_while_the_process_ends_shows_no_traceback():
    code = """
import atexit, os, signal, sys
from blip.cli import demo, main as command
def run(args): raise KeyboardInterrupt
demo.run = run
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.argv = ["blip", "demo"]
sys.exit(command.main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    stopped = "stopped; run the same command again to resume where possible"
    assert done.stderr == f"blip: error: {stopped}\n"


def test_a_reader_that_leaves_ends_the_command_silently():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "blip"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""


def test_without_poll_as_on_windows_a_broken_pipe_is_an_error(monkeypatch):
    monkeypatch.delattr("select.poll")
    assert not streams.reader_has_left(BrokenPipeError())


@pytest.mark.parametrize(
    "arguments",
    [
        ["scenes_demo", "--out", "x", "--pretrain.steps", "5", "--seed=1"],
        ["--pretrain.steps", "5", "--seed=1", "scenes_demo", "--out", "x"],
        ["--out=x", "--pretrain.steps", "5", "scenes_demo", "--seed=1"],
    ],
)
def test_overrides_may_stand_anywhere(arguments):
    args = parse(["bootstrap", *arguments])
    assert (args.recipe, str(args.out)) == ("scenes_demo", "x")
    assert args.overrides == ["--pretrain.steps", "5", "--seed=1"]


def test_only_an_action_with_a_configuration_has_overrides():
    args = parse(["data", "pack", "a", "b", "--per-shard", "7"])
    assert vars(args)["collection.per_shard"] == 7
    assert not hasattr(args, "overrides")
    args = parse(["data", "scenes", "out", "--web", "7"])
    assert args.overrides == ["--web", "7"]


def test_options_are_not_guessed_from_their_beginning():
    with pytest.raises(UsageError, match=r"unknown option --devi \(did you mean --device\?\)"):
        parse(["caption", "c", "p", "--devi", "cpu"])


def test_overview_ends_with_the_way_on():
    assert overview().endswith(
        "`blip VERB --help` shows arguments and examples; start with `blip demo`."
    )
