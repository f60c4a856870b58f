"""Every module can be imported where the modules and calls of Unix are missing, as on Windows."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OF_UNIX = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
OPTIONAL = {"blip.__main__", "blip.capfilt.engine.ray", "blip.ray_cluster", "blip.serve.ray"}
"""What runs the command, and what needs Ray, whose own files import modules of Unix."""
CODE = f"""
import importlib, os, pathlib, signal, sys
# Libraries know by the platform whether they may import them.
import torch.distributed.checkpoint.state_dict, torch.utils.data, numpy
import PIL.Image, pyarrow.parquet, rich.progress
import tokenizers, safetensors.torch, huggingface_hub, matplotlib, filelock, jinja2, multiprocessing
import asyncio, subprocess, tempfile, concurrent.futures, multiprocessing.connection, unittest.mock
for name in {OF_UNIX}:
    sys.modules[name] = None
for module, names in ((os, ("fork", "register_at_fork", "sched_getaffinity", "pread", "getuid")),
                      (signal, ("SIGKILL", "SIGHUP", "SIGUSR1", "pthread_sigmask", "setitimer"))):
    for name in names:
        delattr(module, name)
for path in sorted(pathlib.Path("src/blip").rglob("*.py")):
    name = ".".join(path.relative_to("src").with_suffix("").parts).removesuffix(".__init__")
    if name not in {OPTIONAL}:
        importlib.import_module(name)
"""


def test_modules_of_unix_are_imported_nowhere_on_the_way():
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
