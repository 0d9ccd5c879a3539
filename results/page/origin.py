"""Where a study comes from: what was run, on which code, data and machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from results.page.blocks import Block, Fold, Grid, Listing, Prose, Section
from results.page.subject import Subject
from results.study import read_changes
from results.trial_report import machine_text

MOST_SEEDS = 12  # told one by one


def origin_section(subject: Subject) -> Section:
    """Provenance, as a table, with the sessions and the uncommitted changes."""
    study = subject.study
    made, code = study.provenance, study.provenance.code
    rows = [
        ("command", f"`{made.command_line}`"),
        ("commit", f"`{code.commit}`"),
        ("run number", str(code.run_number)),
        ("uncommitted changes", "yes, see below" if code.dirty else "none"),
        ("digest of the code", f"`{code.digest}`" if code.digest else "not recorded"),
        ("corpus", study.corpus.name),
        ("content hash", f"`{study.corpus.hash}`"),
        ("begun", made.time),
        ("epochs at most", str(study.max_epochs)),
        ("seed of the sampler", str(study.seed)),
        ("seeds of the trainings", _seeds(subject)),
        ("hardware", machine_text(made.hardware)),
        ("platform", f"{made.platform}, Python {made.python}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in made.packages.items())),
    ]
    configured = Listing(title="Configuration", text=_configuration(study.config))
    blocks: list[Block] = [
        Grid(name="origin-table", title="", header=["", ""], rows=rows),
        *_sessions(subject),
        *(_changes(subject) if code.dirty else []),
        Fold(title="Configuration before any parameter is sampled", blocks=[configured]),
    ]
    return Section(name="provenance", title="Provenance", blocks=blocks)


def _seeds(subject: Subject) -> str:
    seeds = sorted({trial.seed for trial in subject.ranking})
    more = f" and {len(seeds) - MOST_SEEDS} more" if len(seeds) > MOST_SEEDS else ""
    return ", ".join(map(str, seeds[:MOST_SEEDS])) + more


def _sessions(subject: Subject) -> list[Block]:
    rows = [
        (
            str(session.session),
            datetime.fromtimestamp(session.time, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00"),
            session.code,
            f"`{session.command_line}`",
            "; ".join(session.changes) or "none",
        )
        for session in subject.tables.sessions
    ]
    if not rows:
        return []
    header = ["session", "begun (UTC)", "code", "command", "changed since the study began"]
    return [Grid(name="sessions", title="Sessions", header=header, rows=rows)]


def _changes(subject: Subject) -> list[Block]:
    """How the code differed from its commit, in each state that a session found it in."""
    found = read_changes(subject.folder)
    if not found:
        return [Prose(paragraphs=["What the uncommitted changes were is not recorded: the study is older than that."])]
    titles = [f"Uncommitted changes of the code with digest {digest}" for digest in found]
    return [
        Fold(title=title, blocks=[Listing(title=title, text=text)])
        for title, text in zip(titles, found.values(), strict=True)
    ]


def _configuration(tree: Any, prefix: str = "") -> str:
    """A line a leaf, as the command line names it."""
    if not isinstance(tree, dict) or not tree:
        return f"{prefix}={'' if tree is None else tree}"
    return "\n".join(_configuration(value, f"{prefix}.{name}" if prefix else name) for name, value in tree.items())
