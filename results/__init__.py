"""What searches leave behind, and what can be made of it.

    import results

    study = results.load("dropout-1")     # a study as typed tables (`results.notebook`)
    study.best.ser, study.trials

Everything else is imported by its module; importing this package costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.notebook import Study


def load(name: str, studies: str | Path | None = None) -> Study:
    """A study as it stands now, for a notebook.

    Args:
        name: of the study.
        studies: folder of the studies, or an address; None is `results/studies/` of this repository.

    Raises:
        StudyError: no study of this name (the message names those there are), or a damaged one.
    """
    from results.notebook import Study  # not at once: it imports Arrow, and its tables pandas
    from results.study import DEFAULT_STUDIES, find_study

    return Study(find_study(studies or DEFAULT_STUDIES, name))
