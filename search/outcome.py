"""How a search ends."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Why a session came to an end."""

    FINISHED = "finished"
    OUT_OF_TIME = "out of time"
    OUT_OF_EPOCHS = "out of epochs"
    OUT_OF_GPU_TIME = "out of GPU time"
    INTERRUPTED = "interrupted"
    DISK_FULL = "the disk is full"
    BROKEN_OFF = "broken off"


SPENT = (Outcome.OUT_OF_TIME, Outcome.OUT_OF_EPOCHS, Outcome.OUT_OF_GPU_TIME)
"""The budget was used up, as was asked for."""
