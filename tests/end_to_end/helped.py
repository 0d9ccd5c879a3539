"""`python -m MODULE --help` of many modules, one after another in one process.

python -m tests.end_to_end.helped MODULE...        prints by module its exit status and what it said, as JSON
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
import warnings


def main(modules: list[str]) -> None:
    """Ask each; a module that another one has imported is run a second time, as the main one."""
    said = {}
    warnings.simplefilter("ignore", RuntimeWarning)  # of runpy, as to that
    for module in modules:
        sys.argv = [module, "--help"]
        status, out = None, io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
        said[module] = status, out.getvalue()
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
