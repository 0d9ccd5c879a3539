"""The names of what a trial reports to Tune, and of what it is given by it: used as `keys.STEP`, `keys.SETTINGS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a trial reports to Tune: the value that is minimised, the epoch it was reached in, all other numbers of that
# epoch; or in place of them why it diverged, why it failed, that the disk is full, or what else the machine lacks.
METRIC, STEP, METRICS, DIVERGED, FAILED, DISK_FULL = "ser", "epoch", "metrics", "diverged", "failed", "disk_full"
CUT_OFF = "cut_off"
OUT_OF_MEMORY = "out_of_memory"  # beside others on a GPU
NOTE = "note"  # what a person should know of this report
# What a trial is given by Tune, beside `ORIGIN`: its number, its setting, its seed, the number of the trial that it
# repeats, the checkpoints to go on from; and once it has gone on from another trial's checkpoint with other settings,
# the number of that one, and the trial's own latest checkpoint before, which it does not go back to.
NUMBER, SETTINGS, SEED, REPEATS, CHECKPOINTS = "number", "settings", "seed", "repeats", "checkpoints"
ADOPTED, EXCHANGED = "adopted", "exchanged"
ALONE = "alone"  # given to a trial that has a GPU of its own, where others share one
BEFORE = -1
"""The number for `ADOPTED` where a trial has gone on from another one's checkpoint before it was taken up again."""


def is_epoch(result: Mapping[str, Any]) -> bool:
    """Whether a report is that of an epoch, and not of an end without one."""
    return not any(result.get(end) for end in (DIVERGED, FAILED, DISK_FULL, CUT_OFF, OUT_OF_MEMORY))
