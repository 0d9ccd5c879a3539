"""A process that has imported the libraries and forks one that runs a command: a second in place of eight.

    python -m tests.end_to_end.warm        reads a line of JSON a command; answers with its process and its exit status

The child is what `python -m MODULE WORDS` is: a `__main__` of its own, with its arguments, folder, environment, and
files for what it prints. Nothing of this project is imported before, nor Ray, which reads its environment when it is.
Processes that the command would spawn are forked as well, from what the child was before it began. And a child ends
without taking its modules apart: that would copy all the memory that it shares, which takes two seconds.
"""

from __future__ import annotations

import atexit
import importlib
import json
import multiprocessing
import os
import runpy
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import forkserver, util
from pathlib import Path

LIBRARIES = (
    *("torch", "torch.utils.data", "torch._dynamo", "timm", "x_transformers", "safetensors.torch", "editdistance"),
    *("numpy", "pandas", "pyarrow.parquet", "pyarrow.compute", "scipy.stats", "cv2", "PIL.Image", "hydra", "optuna"),
    *("matplotlib.pyplot", "altair", "jinja2", "rich.console", "music21", "verovio", "tqdm"),
)


def main() -> None:
    """Import, then serve until standard input ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            importlib.import_module(library)
    print("ready", flush=True)
    for line in sys.stdin:
        child = multiprocessing.get_context("fork").Process(target=_become, kwargs=json.loads(line))
        child.start()
        print(child.pid, flush=True)
        child.join()
        print(child.exitcode, flush=True)


def _become(module: str, words: list[str], folder: str, environment: dict[str, str], printed: list[str]) -> None:
    """Run the command in this process; its end, or its error, is the process's."""
    for descriptor, file in enumerate([os.devnull, *printed]):
        os.dup2(os.open(file, os.O_RDWR), descriptor)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate(("r", "w", "w")))
    sys.stdout.reconfigure(line_buffering=True)  # as it is waited for
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:], sys.path[0] = words, folder
    _fork_what_is_spawned()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


def _fork_what_is_spawned() -> None:
    """Have multiprocessing's fork server in the place of its spawning; the server itself is a fork of this process."""
    forkserver.set_forkserver_preload([])
    spawn, util.spawnv_passfds = util.spawnv_passfds, _forked
    forkserver.ensure_running()
    util.spawnv_passfds = spawn
    context_of = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: context_of("forkserver" if method == "spawn" else method)


def _forked(_: str, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """What `util.spawnv_passfds` does with `python ... -c CODE`, without an interpreter of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in {int(one.name) for one in Path("/proc/self/fd").iterdir()} - {0, 1, 2, *descriptors}:
                with suppress(OSError):  # the one of that listing
                    os.close(descriptor)
            exec(arguments[-1], {})
        finally:
            os._exit(0)
    return pid


if __name__ == "__main__":
    main()
