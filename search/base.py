"""Where a search begins: a run of the training log, or a trial of another study.

base=run:63            the settings of that run (search/conf/experiment/run_63.yaml)
base=study:mine        those of the trial that the study `mine` ended with (`results.winner`), and its corpus
base=study:mine/3      those of its trial 3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets.command_line import typed
from datasets.errors import ConfigError
from omr_model.config import TrainingConfig, replace_fields
from results.gather import gather
from results.ranking import chosen, rank
from results.study import DEFAULT_STUDIES, find_study, read_study
from results.winner import winner_of
from search.config import DataConfig

RUN, STUDY = "run:", "study:"
FROM_STUDY = "from_study"
"""The experiment that a base of another study is composed as."""


def experiment_of(base: str, experiments: Sequence[str]) -> str:
    """The experiment that is the settings of a run of the log.

    Raises:
        ConfigError: the log has no such run, or does not say how it was trained.
    """
    name = f"run_{base.removeprefix(RUN)}"
    if name not in experiments:
        runs = sorted(int(number) for one in experiments if (number := one.removeprefix("run_")).isdigit())
        raise ConfigError(f"base={base}: no such run with known settings; there are {', '.join(map(str, runs))}")
    return name


def base_node(base: str, named: Mapping[str, str]) -> tuple[TrainingConfig, DataConfig]:
    """The training of another study's trial, and the corpus it was trained on.

    Args:
        base: as on the command line.
        named: the words of the command line; `paths.studies` says where studies are.

    Raises:
        ConfigError: not of the form `run:63` or `study:NAME`.
        StudyError: no such study or trial, or none that was trained to the end.
    """
    if not base.startswith(STUDY):
        raise ConfigError(f"base={base}: it is run:N for a run of the training log, or study:NAME or study:NAME/TRIAL")
    name, _, number = base.removeprefix(STUDY).partition("/")
    folder = find_study(named.get("paths.studies", DEFAULT_STUDIES), name)
    study = read_study(folder)
    training = typed(TrainingConfig(), {part: study.config[part] for part in ("model", "loss", "optimizer", "train")})
    return replace_fields(training, _settings(folder, number)), typed(DataConfig(), study.config["data"])


def _settings(folder: Path, number: str) -> dict[str, object]:
    trial = chosen(rank(gather(folder).trials), number) if number else winner_of(folder)
    return {target: value for target, value in trial.params.items() if value is not None}
