"""A process that has imported the libraries and forks one that runs a command: a second in place of eight.

    python -m tests.end_to_end.warm        reads a line of JSON a command; answers with its process and its exit status

The child is what `python -m MODULE WORDS` is: a `__main__` of its own, with its arguments, folder, environment, and
files for what it prints. Nothing of this project is imported before, nor Ray, which reads its environment when it is.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import warnings

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
        pid = os.fork()
        if pid == 0:
            _become(**json.loads(line))
            return
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(module: str, words: list[str], folder: str, environment: dict[str, str], printed: list[str]) -> None:
    """Run the command in this process; its end, or its error, is the process's."""
    for descriptor, file in enumerate([os.devnull, *printed]):
        os.dup2(os.open(file, os.O_RDWR), descriptor)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate(("r", "w", "w")))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:], sys.path[0] = words, folder
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
