"""Manual validation: a person's rating of whole pages read by a trial, a file each in `manual/` of the study.

The rating is the number of differences from the true score, as in the training log; lower is better. Nothing can make
them again, so each has a file of its own: several processes and machines rate without knowing of each other.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from datasets.errors import ConfigError, StudyError
from datasets.files import write_atomically

MANUAL_FOLDER = "manual"
OLD_FILE = "manual.json"  # of studies of before: all ratings in one


def write_manual(folder: Path, trial_id: str, value: float) -> None:
    """Keep one trial's rating; an earlier one of it is replaced.

    Raises:
        ConfigError: the rating is no number from 0 on.
    """
    check_rating(value)
    ratings = folder / MANUAL_FOLDER
    ratings.mkdir(exist_ok=True)
    write_atomically(ratings / f"{trial_id}.json", f"{json.dumps(value)}\n".encode())


def check_rating(value: float) -> None:
    """Raise ConfigError unless `value` can be a count of differences."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"`manual` must be a number from 0 on, but got {value:g}")


def read_manual(folder: Path) -> dict[str, float]:
    """The ratings by trial_id; none if nobody has rated anything yet.

    Raises:
        StudyError: a damaged file.
    """
    before, old = folder / OLD_FILE, {}
    try:
        if before.exists():
            old = {str(trial_id): float(value) for trial_id, value in json.loads(before.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(before, error) from None
    return old | {path.stem: _read(path) for path in sorted((folder / MANUAL_FOLDER).glob("*.json"))}


def _read(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> StudyError:
    return StudyError(f"{path} is damaged ({type(error).__name__}: {error}); mend or remove it")
