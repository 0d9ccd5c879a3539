"""Lines of a name and a text, in which a search begins and a plan is told, and phrases that both use."""

from __future__ import annotations

import textwrap

from search.config import BudgetConfig

WIDTH = 110


def line(name: str, text: str) -> None:
    """Print a text that stays one line, as an address does that is copied."""
    print(f"{name:<10} {text}", flush=True)


def say(name: str, text: str) -> None:
    """Print a text in as many lines as it takes."""
    whole = textwrap.TextWrapper(WIDTH, subsequent_indent=" " * 11, break_on_hyphens=False, break_long_words=False)
    print(whole.fill(f"{name:<10} {text}"), flush=True)


def limits(budget: BudgetConfig) -> list[str]:
    """What ends a search, in words: `8 trials`, `2 hours`."""
    named = {name.replace("gpu_", "GPU "): limit for name, limit in vars(budget).items() if limit is not None}
    return [f"{limit:g} {name.removesuffix('s') if limit == 1 else name}" for name, limit in named.items()]


def counted(count: int, what: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def share_text(cpus: int, gpus: float) -> str:
    """What a trial gets: `1 core`, `0.5 GPU and 4 cores`."""
    cores = counted(cpus, "core")
    return f"{gpus:g} GPU and {cores}" if gpus else cores
