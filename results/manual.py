"""Manual validation: a person's rating of whole pages read by a trial, kept in `manual.json` of the study.

The rating is the number of differences from the true score, as in the training log; lower is better.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from datasets.errors import ConfigError, StudyError
from datasets.files import locked, write_atomically

MANUAL_FILE = "manual.json"


def write_manual(folder: Path, trial_id: str, value: float) -> None:
    """Keep one trial's rating; an earlier one of it is replaced. Several processes may do so at once.

    Raises:
        ConfigError: the rating is no number from 0 on.
        StudyError: a damaged `manual.json`.
    """
    check_rating(value)
    with locked(folder / f".{MANUAL_FILE}.lock", on_wait=lambda: None):
        ratings = read_manual(folder) | {trial_id: value}
        text = json.dumps(ratings, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / MANUAL_FILE, f"{text}\n".encode())


def check_rating(value: float) -> None:
    """Raise ConfigError unless `value` can be a count of differences."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"`manual` must be a number from 0 on, but got {value:g}")


def read_manual(folder: Path) -> dict[str, float]:
    """The ratings by trial_id; none if nobody has rated anything yet.

    Raises:
        StudyError: a damaged `manual.json`.
    """
    path = folder / MANUAL_FILE
    try:
        ratings = json.loads(path.read_text(encoding="utf-8"))
        return {str(trial_id): float(value) for trial_id, value in ratings.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise StudyError(f"{path} is damaged ({type(error).__name__}: {error}); mend or remove it") from None
