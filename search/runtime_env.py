"""`python -m search.runtime_env`: what a Ray job of this checkout must be told, as JSON for `ray job submit`.

    ray job submit --working-dir . --runtime-env-json "$(python -m search.runtime_env)" -- \
        python -m search.run space=dropout cluster=attach paths.studies=/shared/studies ...

The copy of the code that the job runs in has no git, no corpora and no environment of this shell. So it is told the
code's version, which it believes only if its own code has the same digest (`results.provenance`); where an s3://
address finds its keys; and that the job, once it is told to stop, has the time to end its epochs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.addresses import is_address
from datasets.command_line import HELP, guarded
from datasets.errors import ConfigError
from datasets.storage import READ_ONCE
from results.provenance import CODE_VARIABLE, NO_CODE, collect, told_version
from search.config import SearchConfig

PASSED = (*READ_ONCE, "MLFLOW_", "WANDB_")
"""Beginnings of the variables that go with the search. They are seen by whoever has the cluster's token."""
SECONDS_TO_STOP = 60  # after `ray job stop`, before SIGKILL; Ray's own are 3, and `trial.grace_seconds` must fit in
COPIES = "runtime_resources"  # the folder in which Ray keeps copies of code, as long as a job needs them


def main(words: Sequence[str]) -> None:
    """Print it; with `--help`, what it is.

    Raises:
        ConfigError: any other word.
    """
    if HELP & set(words):
        print(f"{(__doc__ or '').strip()}\n\nIt holds keys: what begins with {', '.join(PASSED)} goes into it.")
        return
    if words:
        raise ConfigError(f"'{words[0]}': it takes no word but --help")
    print(json.dumps(runtime_env(), sort_keys=True))


def runtime_env() -> dict[str, Any]:
    """Variables of the job, and what of the checkout is not sent."""
    told = {CODE_VARIABLE: told_version(collect().code), "RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP)}
    return {"env_vars": {**passed(os.environ), **told}, "excludes": excluded()}


def passed(environment: Mapping[str, str]) -> dict[str, str]:
    """Of the variables of this shell those that a search needs on other machines, too."""
    return {name: value for name, value in environment.items() if name.startswith(PASSED)}


def excluded() -> list[str]:
    """Folders of a checkout that are never sent: prepared corpora, studies and the like, however large."""
    return sorted(NO_CODE)


def check_paths_last(config: SearchConfig) -> None:
    """See that what the search writes is not in the copy of the code that a job runs in, and that Ray deletes.

    Raises:
        ConfigError: a path is.
    """
    for name, place in vars(config.paths).items():
        if isinstance(place, str) and not is_address(place) and COPIES in Path(place).resolve().parts:
            raise ConfigError(
                f"paths.{name}={place}: that is in the copy of the code that Ray made for this job and deletes after "
                f"it; there are folders that last, such as paths.{name}=/shared/{name}"
            )


if __name__ == "__main__":
    guarded(lambda: main(sys.argv[1:]))
