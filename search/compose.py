"""The command line to a `SearchConfig`: Hydra composes once, and nothing untyped leaves this module.

space=dropout model=paper         a choice in a group: a YAML file in search/conf/<group>/
model.decoder.depth=6             a field of `SearchConfig`
space.parameters.decoder_dropout.high=0.3
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from datasets.command_line import check_choice, flat_fields, typed, unlocked
from datasets.errors import ConfigError
from omr_model.config import PRESETS, TrainingConfig
from search.config import SearchConfig

CONF = "search.conf"
GROUPS = ("space", "model", "data", "budget", "sampler", "scheduler", "cluster")
SAME_FOR_ALL = {"train.epochs", "train.seed", "train.device", "train.validation_staves", "model.height", "model.width"}
"""Fields that no space may move: trials that differ in them do not compare."""
NO_GPU = {"trial.gpus=0", "cluster.gpus=0", "train.device=cpu"}
DEFAULT_SPACES = ["dropout"]
BUDGET_OF_PRESET = {"paper": "full", "tiny": "quick"}


def compose(words: Sequence[str]) -> SearchConfig:
    """Compose the words of a command line.

    `model` and `budget` follow the device where they are not named.

    Raises:
        ConfigError: a choice or field that does not exist, or a value that is not allowed.
    """
    _register()
    chosen = _check_words(words)
    fields = [_quoted(word) for word in words if not word.startswith("space=")]
    spaces = f"space=[{','.join(chosen.get('space', DEFAULT_SPACES))}]"
    overrides = [*_by_device(words, chosen), spaces, *fields]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(config_module=CONF, version_base="1.3"):
            tree = hydra_compose("config", overrides=overrides)
    except HydraException as error:
        raise ConfigError(_readable(error)) from None
    config = typed(SearchConfig(), OmegaConf.to_container(tree, resolve=True))  # type: ignore[arg-type]
    _check_space_targets(config)
    return config


def device_note(words: Sequence[str]) -> str | None:
    """What the device decided, in one line; None if the words name a model."""
    if "model" in _check_words(words):
        return None
    if _preset(words) == "paper":
        return "a CUDA GPU: the paper's model on full staves (model=tiny takes short ones)"
    return "no CUDA GPU: the tiny model on short staves (model=paper takes the paper's, for a GPU)"


def choices(group: str) -> list[str]:
    """The names that a group offers: its files, and for `model` the presets that Python defines."""
    folder = resources.files(CONF) / group
    files = (
        {path.name.removesuffix(".yaml") for path in folder.iterdir() if _is_yaml(path)} if folder.is_dir() else set()
    )
    return sorted(files | (set(PRESETS) if group == "model" else set()))


def space_names(words: Sequence[str]) -> list[str]:
    """The spaces that a command line names: `space=dropout`, `space=[dropout,depth]`, or the default."""
    return _check_words(words).get("space", DEFAULT_SPACES)


def _register() -> None:
    """Give Hydra the types of all fields, and the model presets that Python defines."""
    store = ConfigStore.instance()
    store.store(name="schema", node=unlocked(SearchConfig()))
    for name, preset in PRESETS.items():
        node = {part.name: unlocked(getattr(preset, part.name)) for part in dataclasses.fields(preset)}
        store.store(group="model", name=name, node=node, package="_global_")


def _check_words(words: Sequence[str]) -> dict[str, list[str]]:
    """The choices in groups, after checking that each word has the right form and each choice exists."""
    chosen: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[\w.]+", key):
            raise ConfigError(f"'{word}' is not of the form field=value or group=choice; see --help")
        if key in GROUPS:
            chosen[key] = [name.strip() for name in value.strip("[]").split(",")]
            for name in chosen[key]:
                check_choice(key, name, choices(key))
    return chosen


def _by_device(words: Sequence[str], chosen: dict[str, list[str]]) -> list[str]:
    model = chosen["model"][0] if "model" in chosen else _preset(words)
    named = [] if "model" in chosen else [f"model={model}"]
    return named if "budget" in chosen else [*named, f"budget={BUDGET_OF_PRESET.get(model, 'quick')}"]


def _preset(words: Sequence[str]) -> str:
    """The preset for the device that trials will run on."""
    from omr_model.device import preset_for_device  # torch takes seconds: only when the device decides

    return preset_for_device("cpu" if NO_GPU & set(words) else "auto")


def _quoted(word: str) -> str:
    """A field of text in Hydra's quotes, so that a path with spaces or a name of digits stays what it is."""
    name, _, value = word.partition("=")
    if name in GROUPS or not isinstance(flat_fields(SearchConfig()).get(name), str):
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
    return f"{override.group(1)}: {cause}" if override else cause


def _unknown(name: str) -> str:
    known = list(flat_fields(SearchConfig()))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    parent = name.rpartition(".")[0]
    siblings = [one for one in known if parent and one.startswith(f"{parent}.")] or near
    allowed = f"there are {', '.join(siblings)}" if siblings else "--help lists the fields"
    return f"{name}: no such field; {allowed}"


def _check_space_targets(config: SearchConfig) -> None:
    leaves = flat_fields(TrainingConfig())
    for name, parameter in config.space.parameters.items():
        if parameter.target in SAME_FOR_ALL:
            raise ConfigError(f"space parameter {name}: {parameter.target} must be the same for all trials of a study")
        if parameter.target not in leaves:
            near = difflib.get_close_matches(parameter.target, leaves, n=3)
            raise ConfigError(
                f"space parameter {name}: `target` {parameter.target} is no field of model, loss or train"
                + (f"; did you mean {' or '.join(near)}?" if near else "")
            )


def _is_yaml(path: Any) -> bool:
    return str(path.name).endswith(".yaml")


def as_yaml(config: SearchConfig) -> str:
    """The whole composed configuration, for `--config`."""
    tree: DictConfig = OmegaConf.structured(config)
    return OmegaConf.to_yaml(tree)
