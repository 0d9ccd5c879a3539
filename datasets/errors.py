"""Every error that a user can cause, in one tree.

    OmrError                   what was wrong, where, and what is allowed
    ├── ConfigError            a field, a choice or a value on the command line or in a YAML file
    │   └── ChoiceError        a name that is none of those there are
    ├── NotationError          a text that is not the semantic encoding
    ├── VocabularyError        symbols that the vocabulary does not have
    ├── CorpusError            a prepared corpus that is missing, incomplete or damaged
    ├── ImageError             a file that is no readable image
    ├── CheckpointError        a checkpoint that is missing, damaged or of another model
    ├── DivergedError          a training whose loss is no longer finite, or grows without end
    ├── StudyError             a study that is missing, or there already
    │   └── StudyOverError     a study with which there is nothing left to do
    ├── StorageError           shared storage that cannot be reached, read or written
    └── LogError               a training log that is damaged, or an entry that it cannot hold

A command line turns them into one message and exit status 2 (`datasets.command_line`); anything else is a
fault of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class OmrError(Exception):
    """Base of all errors whose message alone should tell a user what to do."""


class ConfigError(OmrError):
    """A field that does not exist, or a value that it does not allow."""


class ChoiceError(ConfigError):
    """A name that is none of those there are.

    Attributes:
        choices: those there are.
    """

    def __init__(self, message: str, choices: Sequence[str]) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


class NotationError(OmrError, ValueError):
    """A text that is not the semantic encoding."""


class VocabularyError(OmrError):
    """Symbols that the chosen vocabulary does not have."""


class CorpusError(OmrError):
    """A prepared corpus that is missing, incomplete or damaged."""


class ImageError(OmrError):
    """A file that is no readable image."""


class CheckpointError(OmrError):
    """A checkpoint that is missing, damaged or of another model."""


class DivergedError(OmrError):
    """A training whose loss is no longer finite, or has grown past that of an untrained model."""


class StudyError(OmrError):
    """A study that is missing, or that is there already."""


class StudyOverError(StudyError):
    """A study with which there is nothing left to do."""


class StorageError(OmrError):
    """Shared storage that cannot be reached, read or written.

    Attributes:
        hopeless: to try again will not help: no right, no bucket.
    """

    def __init__(self, message: str, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


class LogError(OmrError):
    """A training log that is damaged, or an entry that cannot be written so that it reads back."""
