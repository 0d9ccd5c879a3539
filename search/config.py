"""What a search is: one tree of frozen dataclasses, filled once from YAML choices and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.addresses import working_folder
from datasets.command_line import check_choice, check_range
from datasets.errors import ConfigError
from datasets.prepare_config import CORPORA, Choices
from datasets.staff import STAFF_SIZES, StaffSize
from omr_model.config import TrainingConfig
from results.study import DEFAULT_LOG, DEFAULT_STUDIES
from search.tracker_names import TRACKERS

KINDS = ("float", "int", "categorical")
ROLES = ("scientific", "nuisance", "fixed")
SAMPLER_NAMES = ("tpe", "gp", "cmaes", "qmc", "random", "grid")  # built in search/samplers.py
SCHEDULER_NAMES = ("asha", "promotion", "hyperband", "median", "pbt", "none")
CLUSTER_NAMES = ("local", "attach")  # search/engine/cluster.py
HISTORIES = ("points", "prior", "none")
AUTO = "auto"  # trial.gpus: as many trials on a GPU as pays (search/packing.py)


@dataclass(kw_only=True)  # not frozen: OmegaConf fills the values of a mapping field by field
class ParameterConfig:
    """One parameter of a space.

    Attributes:
        target: the leaf of the configuration that it moves, such as `model.decoder.dropout`; none if it has
            `options`.
        also: further leaves that get the same value.
        kind: `float` or `int` between `low` and `high`, or one of the `choices` (`categorical`).
        log: uniform in the logarithm.
        step: the grid of a uniform range.
        choices: values, or lists of values.
        options: choices by name, each with the leaves that it sets: a switch of the space. What a later
            parameter sets wins.
        when: other parameters of the space by name, and the value (or list of values) that they must have for
            this one to exist.
        role: `scientific` parameters are what the study is about; `nuisance` ones are searched only so that
            scientific ones are compared each at its best; `fixed` ones stay as the base has them (Godbole et al.,
            Deep Learning Tuning Playbook, 2023).
    """

    target: str = ""
    also: list[str] = field(default_factory=list)
    kind: str = "float"
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: list[Any] = field(default_factory=list)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    when: dict[str, Any] = field(default_factory=dict)
    role: str = "scientific"

    def __post_init__(self) -> None:
        if self.options:
            self.kind = "categorical"
        name = self.target or "/".join(self.options)
        check_choice(f"kind (of {name})", self.kind, KINDS)
        check_choice(f"role (of {name})", self.role, ROLES)
        if bool(self.target) == bool(self.options):
            raise ConfigError(f"{name}: a parameter has either a `target` or `options`")
        if self.options and (self.choices or self.also):
            raise ConfigError(f"{name}: `choices` and `also` go with a `target`, not with `options`")
        if self.kind == "categorical":
            if not (self.choices or self.options):
                raise ConfigError(f"{name}: a categorical parameter needs `choices` or `options`")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ConfigError(f"{name}: `low` must be below `high`, but got {self.low} and {self.high}")
        elif self.step is not None and (self.log or self.step <= 0 or (self.kind == "int" and self.step % 1)):
            raise ConfigError(
                f"{name}: `step` must be above 0, whole for integers, not for a logarithmic range; got {self.step}"
            )
        elif self.log and self.low <= 0:
            raise ConfigError(f"{name}: a logarithmic range must begin above 0, but got {self.low}")

    @property
    def targets(self) -> list[str]:
        """Every leaf that it may set."""
        set_by_options = [target for fields in self.options.values() for target in fields]
        return list(dict.fromkeys([*([self.target] if self.target else []), *self.also, *set_by_options]))


@dataclass(kw_only=True)  # not frozen: OmegaConf fills the values of a mapping field by field
class PointConfig:
    """A setting to be tried first: values by parameter name, and where it comes from.

    Parameters that it does not name are as the base has them.
    """

    origin: str
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """Parameters and first points by name; several spaces merge into one."""

    parameters: dict[str, ParameterConfig] = field(default_factory=dict)
    points: dict[str, PointConfig] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Choices):
    """The corpus, as `datasets.prepare` is told (`PrepareConfig`).

    Attributes:
        name: the corpus, or several with `+` between them; on the command line `data=`.
        staff: the size of its images; `auto` is that of the model's picture.
        seed: of the choice and order of pieces and of the typography.
    """

    name: str = "engraved"
    staff: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("data.staff", self.staff, ("auto", *STAFF_SIZES))
        check_range("data.limit", self.limit or 1, 1)


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """When a search is over: whatever comes first. None is no limit; one of them there must be.

    Attributes:
        trials: settings tried; trials that repeat a setting with another seed come on top (`confirm`).
        epochs: epochs of all trials.
        hours: hours on the clock, summed over the times that it was resumed.
        gpu_hours: hours in which a trial had a GPU, summed over the GPUs.
    """

    trials: int | None = 8
    epochs: int | None = None
    hours: float | None = None
    gpu_hours: float | None = None

    def __post_init__(self) -> None:
        if all(limit is None for limit in vars(self).values()):
            raise ConfigError(f"a search needs a limit; budget has {', '.join(vars(self))}")
        check_range("budget.trials", 1 if self.trials is None else self.trials, 1)
        check_range("budget.epochs", 1 if self.epochs is None else self.epochs, 1)
        check_range("budget.hours", 1 if self.hours is None else self.hours, 1e-3)
        check_range("budget.gpu_hours", 1 if self.gpu_hours is None else self.gpu_hours, 1e-3)


@dataclass(frozen=True, kw_only=True)
class ConfirmConfig:
    """How the best trials are trained again with other seeds, beside the base, before a verdict is given.

    Attributes:
        top: how many of the best are trained again; 0 is none.
        rounds: most rounds of one more seed for each of them and for the base; they end once the verdict is clear.
        worthwhile: the difference of SER, as a fraction, below which nobody would change a setting.
    """

    top: int = 1
    rounds: int = 4
    worthwhile: float = 0.01

    def __post_init__(self) -> None:
        check_range("confirm.top", self.top, 0)
        check_range("confirm.rounds", self.rounds, 1)
        check_range("confirm.worthwhile", self.worthwhile, 0, 1)


@dataclass(frozen=True, kw_only=True)
class DiskConfig:
    """What a search may leave on the disk, in GB (10^9 bytes).

    Attributes:
        cap: most that all checkpoints take together; the least needed are deleted first. None is no limit.
        reserve: how much is left free; a search stops, to be resumed, before it takes that too.
    """

    cap: float | None = None
    reserve: float = 1.0

    def __post_init__(self) -> None:
        check_range("disk.cap", 1 if self.cap is None else self.cap, 1e-3)
        check_range("disk.reserve", self.reserve, 0)


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Who suggests settings.

    Attributes:
        name: on the command line `sampler=`.
        startup_trials: random trials before a model of the space is trusted (tpe, gp, cmaes).
        resolution: how many values of each range a grid has.
    """

    name: str = "tpe"
    startup_trials: int = 6
    resolution: int = 3

    def __post_init__(self) -> None:
        check_choice("sampler", self.name, SAMPLER_NAMES)
        check_range("sampler.startup_trials", self.startup_trials, 1)
        check_range("sampler.resolution", self.resolution, 2)


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Who stops trials early.

    Attributes:
        name: on the command line `scheduler=`.
        grace_epochs: the first epoch after which a trial can be stopped; for pbt, the epochs between two exchanges.
        reduction_factor: at each rung the best one in so many goes on (asha, promotion, hyperband; Li et al., arXiv
            1810.05934).
        adapt: drop the first rung once it is seen to throw good settings away (asha, promotion).
    """

    name: str = "hyperband"
    grace_epochs: int = 4
    reduction_factor: int = 2
    adapt: bool = False

    def __post_init__(self) -> None:
        check_choice("scheduler", self.name, SCHEDULER_NAMES)
        check_range("scheduler.grace_epochs", self.grace_epochs, 1)
        check_range("scheduler.reduction_factor", self.reduction_factor, 2)


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where trials run: on this machine, with all its cores and GPUs unless told otherwise, or on a running cluster.

    Attributes:
        name: `local` starts Ray on this machine, `attach` joins the Ray at `address`; on the command line `cluster=`.
        address: where a cluster runs: HOST:PORT of its head, or `auto` for the one that this machine is a node of
            (attach).
        upload: send this code to the nodes; false where they have the same code already: a shared checkout, or an image
            with it (attach).
        cpus, gpus: how many trials may use in all; None is all there are.
        dashboard: start Ray's dashboard; that of a running cluster is its own, and so are the next two.
        dashboard_host: the address that it listens on; any but this machine's own opens it to the network, with its
            token alone before it.
        dashboard_port: its port; another is taken where this one is in use.
    """

    name: str = "local"
    address: str = "auto"
    upload: bool = True
    cpus: int | None = None
    gpus: int | None = None
    dashboard: bool = True
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int = 8265

    def __post_init__(self) -> None:
        check_choice("cluster", self.name, CLUSTER_NAMES)
        check_range("cluster.cpus", 1 if self.cpus is None else self.cpus, 1)
        check_range("cluster.gpus", self.gpus or 0, 0)
        if self.address != ClusterConfig.address and self.name != "attach":
            raise ConfigError(f"cluster.address={self.address}: only cluster=attach joins a running cluster")
        if self.address.startswith("ray://"):
            raise ConfigError(
                f"cluster.address={self.address}: Ray's client runs a search where its journal is not; there are "
                "HOST:PORT, on a machine that `ray start --address=HOST:PORT --num-cpus=0` made a node of the cluster, "
                "and `ray job submit`, which starts the search on the cluster itself"
            )
        host, colon, port = self.address.rpartition(":")
        if self.address != "auto" and not (host and colon and port.isdigit()):
            raise ConfigError(f"cluster.address={self.address}: there are HOST:PORT, such as 10.0.0.1:6379, and auto")


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """What one trial gets.

    Attributes:
        gpus: GPUs of a trial, or its share of one; None is one where there is one, else none. `auto` measures, before
            the first trial, how many trials side by side on one GPU train the most and still fit into its memory;
            without a CUDA GPU it is none.
        cpus: cores of a trial; None is an equal share of the cores for each GPU, or one core where there is no GPU.
        retries: how often a trial whose process died is taken up again from its checkpoint.
        hang_minutes: minutes without a report after which a trial counts as hung and is killed; None is ten times its
            longest epoch, and at least half an hour.
        grace_seconds: time that an epoch has to end after SIGTERM, as a cluster's scheduler sends it before SIGKILL.
    """

    gpus: float | int | str | None = None
    cpus: int | None = None
    retries: int = 1
    hang_minutes: float | None = None
    grace_seconds: float = 20.0

    def __post_init__(self) -> None:
        if isinstance(self.gpus, str):
            if self.gpus != AUTO:
                raise ConfigError(f"trial.gpus={self.gpus}: there are a number, auto and null")
        else:
            check_range("trial.gpus", self.gpus or 0, 0)
        check_range("trial.cpus", 1 if self.cpus is None else self.cpus, 1)
        check_range("trial.retries", self.retries, 0)
        check_range("trial.hang_minutes", 1 if self.hang_minutes is None else self.hang_minutes, 1e-3)
        check_range("trial.grace_seconds", self.grace_seconds, 0)


@dataclass(frozen=True, kw_only=True)
class PathsConfig:
    """Where things are.

    Attributes:
        corpora: the folder of prepared corpora, or an address such as `s3://bucket/corpora`.
        studies: the folder of studies, or an address.
        log: the training log that studies are entered in, a file of this machine.
    """

    corpora: str = str(CORPORA)
    studies: str = DEFAULT_STUDIES
    log: str = str(DEFAULT_LOG)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(TrainingConfig):
    """A whole search.

    Attributes:
        study: its name; empty is the space's name and the first free number.
        seed: the sampler's; `train.seed` is that of every trial's training.
        base: where model, loss, optimizer and train come from, if not from the preset: `run:63` of the training
            log, or `study:NAME` (its best trial) or `study:NAME/3` (its trial 3).
        fast: mixed precision, torch.compile and fused AdamW, or none of them; None leaves it to the preset.
        history: what the training log contributes: its `points` are tried first; `prior` lets the sampler begin
            around what was good there, too; or `none`.
        plan: measure for a moment, say what the search would cost, and run nothing.
        trackers: who logs the search, too.
        model, loss, optimizer, train: what a trial trains, where the space says nothing else.
    """

    study: str = ""
    seed: int = 0
    base: str = ""
    fast: bool | None = None
    history: str = "points"
    plan: bool = False
    trackers: list[str] = field(default_factory=list)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    data: DataConfig = field(default_factory=DataConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    disk: DiskConfig = field(default_factory=DiskConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    trial: TrialConfig = field(default_factory=TrialConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("history", self.history, HISTORIES)
        for tracker in self.trackers:
            check_choice("trackers", tracker, tuple(TRACKERS))
        if self.scheduler.name == "pbt" and self.budget.trials is None:
            raise ConfigError("scheduler=pbt: its trials are one population; say how many with budget.trials")

    @property
    def judged(self) -> int:
        """How many of the best are trained again; none of a population, whose settings change on the way."""
        return 0 if self.scheduler.name == "pbt" else self.confirm.top

    def training(self) -> TrainingConfig:
        """The training that trials vary."""
        return TrainingConfig(model=self.model, loss=self.loss, optimizer=self.optimizer, train=self.train)

    def staff(self) -> StaffSize:
        """The size of staves: as asked, or that of the model's picture.

        Raises:
            ConfigError: `auto`, and no size fits the model.
        """
        if self.data.staff != "auto":
            return STAFF_SIZES[self.data.staff]
        for size in STAFF_SIZES.values():
            if (size.height, size.width) == (self.model.height, self.model.width):
                return size
        sizes = ", ".join(f"{size.height} x {size.width}" for size in STAFF_SIZES.values())
        raise ConfigError(
            f"model.height={self.model.height} model.width={self.model.width}: no staves of that size; "
            f"there are {sizes}"
        )

    def folder(self) -> Path:
        """The study's folder on this machine; only once it has a name."""
        return working_folder(self.paths.studies) / self.study
