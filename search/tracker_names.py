"""Who may log a search too, and whether the packages for it are installed; `search.engine.trackers` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from datasets.errors import ConfigError

TRACKERS = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
"""The package that each needs."""


def check_trackers(trackers: Sequence[str]) -> None:
    """See that the packages of trackers are there.

    Raises:
        ConfigError: one is not installed.
    """
    missing = [name for name in trackers if find_spec(TRACKERS[name]) is None]
    if missing:
        packages = " ".join(TRACKERS[name] for name in missing)
        raise ConfigError(f"trackers={','.join(missing)}: not installed; there is `pip install {packages}`")
