"""`python -m search.run space=dropout`: a whole search from one line.

python -m search.run space=dropout
python -m search.run space=dropout study=first budget.trials=20 model.decoder.depth=4
python -m search.run space=dropout plan=true     what it would cost, and nothing is run
python -m search.run resume=first                after a crash, a stop, or a machine that was switched off
python -m search.run resume=first extend=+20     20 more trials; +2hours, +100epochs, +8gpu_hours, +4rounds of seeds
python -m search.run list                        all studies
python -m search.run status=first                where one stands, trial by trial
python -m search.run stop=first                  ends it with its trials' epochs; now=true at once
python -m search.run --help                      groups, choices and all fields; --help disk those of one group
python -m search.run --config space=dropout      the composed configuration, and nothing is run
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Sequence

from datasets.command_line import EXIT_USER_ERROR, HELP, check_choice, flat_fields, guarded, parse
from datasets.errors import StudyError
from datasets.field_help import FieldHelp, as_typed, field_helps, shown
from omr_model.presets import PRESETS
from results.study import DEFAULT_STUDIES
from results.working_copy import study_names
from search.compose import GROUPS, as_yaml, choices, compose, device_note, space_names
from search.config import SearchConfig
from search.lines import limits, say
from search.manage import ManageConfig, show_list, show_status, stop
from search.plan import plan
from search.study import resume_study, run_study

SHOW = "--config"
SHORT_HELP = """\
python -m search.run space=dropout              a search over dropout
python -m search.run space=dropout plan=true    what it would cost; nothing is run
python -m search.run resume=NAME                go on with a study; `list` shows which there are

python -m search.run --help                     everything that can be said
"""


def main(words: list[str]) -> None:
    """Compose the search that the words name, and run it."""
    if not words:
        print(SHORT_HELP, end="", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    if HELP & set(words):
        print(help_text([word for word in words if word not in HELP]))
        return
    if verb := next((word.partition("=")[0] for word in words if word.partition("=")[0] in VERBS), None):
        _check_named(verb, words)
        VERBS[verb](words)
        return
    fields = [word for word in words if word != SHOW]
    config = compose(fields)
    if SHOW in words:
        print(as_yaml(config), end="")
        return
    note = device_note(fields)
    if note is not None:
        say("device", note)
    if config.budget.trials is None:
        say("ends", f"after {' or '.join(limits(config.budget))}")
    if config.plan:
        plan(config, space_names(fields))
    else:
        run_study(config, space_names(fields))


def _check_named(verb: str, words: Sequence[str]) -> None:
    """Raise StudyError where a verb needs a study's name and has none."""
    named = dict(word.partition("=")[::2] for word in words)
    if verb == LIST or named[verb]:
        return
    studies = named.get("paths.studies") or named.get("studies") or DEFAULT_STUDIES
    there = study_names(studies)
    raise StudyError(
        f"which study? {verb}=NAME; " + (f"there are {', '.join(there)}" if there else f"there are none in {studies}")
    )


def _managed(tool: Callable[[ManageConfig], None]) -> Callable[[list[str]], None]:
    """A tool that is told `status=NAME`."""

    def run(words: list[str]) -> None:
        tool(parse(ManageConfig(), [re.sub(r"^(status|stop)=", "name=", word) for word in words if word != LIST]))

    return run


LIST = "list"
VERBS: dict[str, Callable[[list[str]], None]] = {
    LIST: _managed(show_list),
    "status": _managed(show_status),
    "stop": _managed(stop),
    "resume": resume_study,
}
"""What is done with a study that is there."""


TOP = "search"
"""What the fields that stand in no group are asked for by: `--help search`."""


def help_text(asked: Sequence[str] = ()) -> str:
    """What a command line may say.

    Args:
        asked: groups, or fields, to be told alone; none is everything.

    Raises:
        ConfigError: no such group.
    """
    fields: dict[str, list[FieldHelp]] = {}
    for field in field_helps(SearchConfig()):
        fields.setdefault(field.name.partition(".")[0] if "." in field.name else TOP, []).append(field)
    for word in asked:
        check_choice("group of fields", word, sorted({*fields, *GROUPS}))
    values = _defaults()
    if asked:
        lines = [line for name in asked for line in (*_choices_text(name), *shown(fields.get(name, []), values))]
        return "\n".join(lines)
    groups = [line for group in GROUPS for line in _choices_text(group)]
    each = [line for group in fields for line in ("", f"{group}:", *shown(fields[group], values))]
    return "\n".join([(__doc__ or "").strip(), "", "groups (group=choice):", *groups, "", HEADING, *each])


HEADING = "fields (field=value), with the defaults of model=paper and, where they differ, of model=tiny:"


def _choices_text(group: str) -> list[str]:
    names = choices(group) if group in GROUPS else []
    return textwrap.wrap(f"  {group}={'|'.join(names)}", 120, subsequent_indent="      ") if names else []


def _defaults() -> dict[str, str]:
    """Of fields that follow the device or the preset, both defaults."""
    paper, tiny = flat_fields(PRESETS["paper"]), flat_fields(PRESETS["tiny"])
    both = {
        name: f"{as_typed(paper[name])} (tiny: {as_typed(tiny[name])})"
        if paper[name] != tiny[name]
        else as_typed(paper[name])
        for name in paper
    }
    trials = [compose([f"model={preset}"]).budget.trials for preset in ("paper", "tiny")]
    return {**both, "budget.trials": f"{trials[0]} (tiny: {trials[1]})"}


if __name__ == "__main__":
    guarded(lambda: main(sys.argv[1:]))
