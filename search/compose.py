"""The command line to a `SearchConfig`: Hydra composes once, and nothing untyped leaves this module.

space=dropout model=paper         a choice in a group: a YAML file in search/conf/<group>/
space=[dropout,depth]             several spaces in one; space=all is all of them
data=cpms+grandstaff              a mixture of the moment, beside the named corpora
experiment=run_56                 the settings of a run of the training log
base=study:mine                   those of another study's best trial
model.decoder.depth=6             a field of `SearchConfig`
space.parameters.decoder_dropout.high=0.3
trackers=tensorboard,mlflow       a list, with brackets or without

Later ones win: preset, experiment or base, fast, fields.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from datasets.command_line import check_choice, flat_fields, plainly, typed, unlocked
from datasets.errors import ConfigError
from datasets.mixture import SEPARATOR, data_names, parts_of
from omr_model.config import TrainingConfig, replace_fields
from omr_model.presets import FAST, PLAIN, PRESETS
from search.base import FROM_STUDY, RUN, base_node, experiment_of
from search.config import SearchConfig
from search.space import WEIGHTS

CONF = "search.conf"
GROUPS = ("space", "experiment", "model", "data", "budget", "sampler", "scheduler", "cluster")
ALL = "all"
SAME_FOR_ALL = {
    *("train.epochs", "train.seed", "train.device", "train.validation_staves", "train.scored_in"),
    *("model.height", "model.width"),
}
"""Fields that no space may move: trials that differ in them do not compare."""
VOCABULARY, COMMON_VOCABULARY = "model.vocabulary", "reduced"
LIST_OF_PARAMETER = re.compile(r"space\.parameters\.\w+\.(also|choices)")
NEGATIVES = "train.mix.negatives"
NO_GPU = {"trial.gpus=0", "cluster.gpus=0", "train.device=cpu"}
PAPERS_MODEL_ON_CPU = (
    "this is the paper's model on full staves, of which a CPU trains few a second; add model=tiny for a small one with "
    "these settings, or plan=true to see the hours"
)
DEFAULT_SPACES = ["dropout"]
OTHER_LIMITS = ("budget.epochs", "budget.hours", "budget.gpu_hours")
BUDGET_OF_PRESET = {"paper": "full", "grand": "full", "tiny": "quick", "line": "quick"}


def compose(words: Sequence[str]) -> SearchConfig:
    """Compose the words of a command line.

    `model` and `budget` follow the device where they are not named.

    Raises:
        ConfigError: a choice or field that does not exist, or a value that is not allowed.
    """
    chosen = _check_words(words)
    named = _fields(words)
    _register()
    spaces = f"space=[{','.join(_spaces(chosen))}]"
    overrides = [*_origin(named, chosen), spaces, *_speed(named), *(_quoted(word) for word in words if _passes(word))]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(config_module=CONF, version_base="1.3"):
            tree = hydra_compose("config", overrides=overrides)
    except HydraException as error:
        raise ConfigError(_readable(error)) from None
    config = typed(SearchConfig(), OmegaConf.to_container(tree, resolve=True))  # type: ignore[arg-type]
    _check_space_targets(config)
    if config.history == "none":
        config = replace(config, space=replace(config.space, points={}))
    return _settled(config)


def device_note(words: Sequence[str]) -> str | None:
    """What the device decided, or what it is too slow for, in one line; None if the words name a model."""
    if "model" in _check_words(words):
        return None
    if _names_origin(words):
        slow = _preset(words) == "tiny" and compose(words).model.width >= PRESETS["paper"].model.width
        return f"no CUDA GPU: {PAPERS_MODEL_ON_CPU}" if slow else None
    if _preset(words) == "paper":
        return "a CUDA GPU: the paper's model on full staves (model=tiny takes short ones)"
    return "no CUDA GPU: the tiny model on short staves (model=paper takes the paper's, for a GPU)"


def choices(group: str) -> list[str]:
    """The names that a group offers: its files, and what Python defines: presets of `model`, corpora of `data`."""
    folder = resources.files(CONF) / group
    files = (
        {path.name.removesuffix(".yaml") for path in folder.iterdir() if _is_yaml(path)} if folder.is_dir() else set()
    )
    more = {"model": set(PRESETS), "data": set(data_names()), "space": {ALL}}
    return sorted(files | more.get(group, set()))


def space_names(words: Sequence[str]) -> list[str]:
    """The spaces that a command line names: `space=dropout`, `space=[dropout,depth]`, or the default."""
    return _spaces(_check_words(words))


def _register() -> None:
    """Give Hydra the types of all fields, and the presets and corpora that Python defines."""
    store = ConfigStore.instance()
    store.store(name="schema", node=unlocked(SearchConfig()))
    for name, preset in PRESETS.items():
        store.store(group="model", name=name, node=training_node(preset), package="_global_")
    for name in data_names():
        store.store(group="data", name=name, node={"name": name})


def training_node(training: TrainingConfig) -> dict[str, Any]:
    """A training as a node that Hydra lays at the top of the tree."""
    return {part: unlocked(getattr(training, part)) for part in ("model", "loss", "optimizer", "train")}


def _spaces(chosen: dict[str, list[str]]) -> list[str]:
    names = chosen.get("space", DEFAULT_SPACES)
    return [name for name in choices("space") if name != ALL] if names == [ALL] else list(dict.fromkeys(names))


def _check_words(words: Sequence[str]) -> dict[str, list[str]]:
    """The choices in groups, after checking that each word has the right form and each choice exists."""
    chosen: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[\w.]+", key):
            near = " or ".join(f"{group}={word}" for group in GROUPS if word in choices(group))
            hint = f"did you mean {near}?" if near else "see --help"
            raise ConfigError(f"'{word}' is not of the form field=value or group=choice; {hint}")
        if key in GROUPS:
            chosen[key] = [name.strip() for name in value.strip("[]").split(",")]
            if len(chosen[key]) > 1 and key != "space":
                raise ConfigError(f"{word}: {key} takes one name; only spaces combine")
            for name in chosen[key]:
                if not (key == "data" and parts_of(name)):
                    check_choice(key, name, choices(key))
    if ALL in chosen.get("space", []) and chosen["space"] != [ALL]:
        raise ConfigError(f"space=[{','.join(chosen['space'])}]: {ALL} is all the others, and stands alone")
    return chosen


def _fields(words: Sequence[str]) -> dict[str, str]:
    """The words by what stands before the `=`."""
    return dict(word.split("=", 1) for word in words)


def _passes(word: str) -> bool:
    """Whether a word goes on to Hydra as it is; the others are put into other words."""
    return word.partition("=")[0] not in ("space", "experiment", "model")


def _names_origin(words: Sequence[str]) -> bool:
    named = _fields(words)
    return bool(named.get("base") or named.get("experiment"))


def _origin(named: dict[str, str], chosen: dict[str, list[str]]) -> list[str]:
    """Where model, loss, optimizer and train come from: preset, and experiment or base; and the budget that fits."""
    base, experiment = named.get("base", ""), chosen.get("experiment", [""])[0]
    if base and experiment:
        raise ConfigError(f"base={base} and experiment={experiment} are two beginnings; name one of them")
    model, words = chosen.get("model", [""])[0], []
    if base.startswith(RUN):
        experiment = experiment_of(base, choices("experiment"))
    elif base:
        if given := {"model", "data"} & set(chosen):
            raise ConfigError(f"base={base} brings its own {' and '.join(sorted(given))}; leave that out")
        training, data = base_node(base, named)
        node = {**training_node(training), "data": unlocked(data)}
        ConfigStore.instance().store(group="experiment", name=FROM_STUDY, node=node, package="_global_")
        experiment, model = FROM_STUDY, _like(training)
    if experiment:
        words.append(f"experiment={experiment}")
    model = model or ("paper" if experiment else _preset([f"{key}={value}" for key, value in named.items()]))
    return [f"model={model}", *words, *([] if "budget" in chosen else _budget(model, named))]


def _budget(model: str, named: Mapping[str, str]) -> list[str]:
    """The number of trials that fits the preset; or none, where the words name another limit.

    A population has one of trials in any case.
    """
    limited = any(named.get(limit, "null") != "null" for limit in OTHER_LIMITS)
    if limited and named.get("scheduler") != "pbt":
        return ["budget.trials=null"]
    return [f"budget={BUDGET_OF_PRESET.get(model, 'quick')}"]


def _like(training: TrainingConfig) -> str:
    """The preset that has this training's picture."""
    picture = (training.model.height, training.model.width)
    same = [name for name, one in PRESETS.items() if (one.model.height, one.model.width) == picture]
    return same[0] if same else "paper"


def _speed(named: dict[str, str]) -> list[str]:
    """What `fast=true` or `fast=false` stands for."""
    fast = named.get("fast", "null").lower()
    check_choice("fast", fast, ("true", "false", "null"))
    return [f"{field}={value}" for field, value in {"true": FAST, "false": PLAIN}.get(fast, {}).items()]


def _settled(config: SearchConfig) -> SearchConfig:
    """The base with what a space needs: fields that are left open elsewhere.

    A search over vocabularies compares in the one that all of them can be written in. One over the share of
    negatives begins without any, as "as many as the corpus has" is no number.
    """
    moved = {target for one in config.space.parameters.values() if one.role != "fixed" for target in one.targets}
    fields: dict[str, Any] = {}
    if VOCABULARY in moved and not config.train.scored_in:
        fields["train.scored_in"] = COMMON_VOCABULARY
    if NEGATIVES in moved and config.train.mix.negatives is None:
        fields[NEGATIVES] = 0.0
    return replace(config, train=replace_fields(config.training(), fields).train) if fields else config


def _preset(words: Sequence[str]) -> str:
    """The preset for the device that trials will run on."""
    from omr_model.device import preset_for_device  # torch takes seconds: only when the device decides

    return preset_for_device("cpu" if NO_GPU & set(words) else "auto")


def _quoted(word: str) -> str:
    """A field of text in Hydra's quotes, so that a path with spaces or a name of digits stays what it is.

    A list gets its brackets, as in `datasets.command_line.parse`.
    """
    name, _, value = word.partition("=")
    if name == "data" and SEPARATOR in value:
        return f"data.name='{value}'"  # a mixture of the moment has no file
    if f"{name}.".startswith(WEIGHTS):
        return f"++{word}"  # a mapping, whose keys are the corpus's
    default = flat_fields(SearchConfig()).get(name)
    if (isinstance(default, list) or LIST_OF_PARAMETER.fullmatch(name)) and not value.startswith("["):
        return f"{name}=[{value}]"
    decimal = re.fullmatch(r"-?\d+,\d+", value) and not isinstance(default, list)  # Hydra would run one of each
    if name in GROUPS or not (isinstance(default, str) or decimal):
        return word
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'"


def _readable(error: HydraException) -> str:
    """Hydra's message in one line, with the fields that there are where one was not found."""
    cause = str(error.__cause__ or error).splitlines()[0]
    unknown = re.search(r"Could not override '([\w.]+)'", str(error))
    if unknown and "not in" in cause:
        return _unknown(unknown.group(1))
    override = re.search(r"Error merging override ([\w.]+)", str(error))
    return f"{override.group(1)}: {plainly(cause)}" if override else cause


def _unknown(name: str) -> str:
    known = list(flat_fields(SearchConfig()))
    near = difflib.get_close_matches(name, [*GROUPS, *known], n=1)
    parent = name.rpartition(".")[0]
    siblings = [one for one in known if parent and one.startswith(f"{parent}.")]
    allowed = f"there are {', '.join(siblings)}" if siblings else "--help lists the fields"
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{name}: no such field; {allowed}{hint}"


def _check_space_targets(config: SearchConfig) -> None:
    leaves = flat_fields(TrainingConfig())
    targets = {target: name for name, one in config.space.parameters.items() for target in one.targets}
    for target, name in targets.items():
        if target in SAME_FOR_ALL:
            raise ConfigError(f"space parameter {name}: {target} must be the same for all trials of a study")
        if target not in leaves and not target.startswith(WEIGHTS):
            near = difflib.get_close_matches(target, leaves, n=3)
            raise ConfigError(
                f"space parameter {name}: `target` {target} is no field of model, loss, optimizer or train"
                + (f"; did you mean {' or '.join(near)}?" if near else "")
            )


def _is_yaml(path: Any) -> bool:
    return str(path.name).endswith(".yaml")


def as_yaml(config: SearchConfig) -> str:
    """The whole composed configuration, for `--config`."""
    tree: DictConfig = OmegaConf.structured(config)
    return OmegaConf.to_yaml(tree)
