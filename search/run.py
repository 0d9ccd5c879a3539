"""`python -m search.run space=dropout`: a whole search from one line.

python -m search.run space=dropout
python -m search.run space=dropout study=first budget.trials=20 model.decoder.depth=4
python -m search.run space=dropout plan=true     what it would cost, and nothing is run
python -m search.run --help       groups, choices and fields
python -m search.run --config     the composed configuration, and nothing is run
"""

from __future__ import annotations

import sys

from datasets.command_line import flat_fields, guarded
from search.compose import GROUPS, as_yaml, choices, compose, device_note, space_names
from search.config import SearchConfig
from search.plan import plan
from search.study import run_study

HELP, SHOW = {"-h", "--help"}, "--config"


def main(words: list[str]) -> None:
    """Compose the search that the words name, and run it."""
    if HELP & set(words):
        print(help_text())
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
