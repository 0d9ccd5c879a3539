"""`python -m search.run space=dropout`: a whole search from one line.

python -m search.run space=dropout
python -m search.run space=dropout study=first budget.trials=20 model.decoder.depth=4
python -m search.run space=dropout plan=true     what it would cost, and nothing is run
python -m search.run resume=first                after a crash, a stop, or a machine that was switched off
python -m search.run resume=first extend=+20     20 more trials; +2hours, +100epochs, +8gpu_hours, +4rounds of seeds
python -m search.run list                        all studies
python -m search.run status=first                where one stands, trial by trial
python -m search.run stop=first                  ends it with its trials' epochs; now=true at once
python -m search.run --help       groups, choices and fields
python -m search.run --config     the composed configuration, and nothing is run
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from datasets.command_line import flat_fields, guarded, parse
from search.compose import GROUPS, as_yaml, choices, compose, device_note, space_names
from search.config import SearchConfig
from search.manage import ManageConfig, show_list, show_status, stop
from search.plan import plan
from search.study import resume_study, run_study

HELP, SHOW = {"-h", "--help"}, "--config"


def main(words: list[str]) -> None:
    """Compose the search that the words name, and run it."""
    if HELP & set(words):
        print(help_text())
        return
    if verb := next((word.partition("=")[0] for word in words if word.partition("=")[0] in VERBS), None):
        VERBS[verb](words)
        return
    fields = [word for word in words if word != SHOW]
    config = compose(fields)
    if SHOW in words:
        print(as_yaml(config), end="")
        return
    note = device_note(fields)
    if note is not None:
        print(f"{'device':<10} {note}", flush=True)
    if config.plan:
        plan(config, space_names(fields))
    else:
        run_study(config, space_names(fields))


def _managed(tool: Callable[[ManageConfig], None]) -> Callable[[list[str]], None]:
    """A tool that is told `status=NAME` and where studies are, as a search is (`paths.studies=`)."""

    def run(words: list[str]) -> None:
        named = [word.replace("paths.studies=", "studies=") for word in words if word != LIST]
        tool(parse(ManageConfig(), [re.sub(r"^(status|stop)=", "name=", word) for word in named]))

    return run


LIST = "list"
VERBS: dict[str, Callable[[list[str]], None]] = {
    LIST: _managed(show_list),
    "status": _managed(show_status),
    "stop": _managed(stop),
    "resume": resume_study,
}
"""What is done with a study that is there."""


def help_text() -> str:
    """What a command line may say."""
    groups = [f"  {group}={'|'.join(choices(group))}" for group in GROUPS]
    fields = [f"  {name}={value}" for name, value in flat_fields(SearchConfig()).items()]
    parts = [
        (__doc__ or "").strip(),
        "groups:",
        *groups,
        "",
        "fields (defaults are those of the paper's model):",
    ]
    return "\n".join([*parts, *fields])


if __name__ == "__main__":
    guarded(lambda: main(sys.argv[1:]))
