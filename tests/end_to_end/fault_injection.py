"""`python -m tests.end_to_end.fault_injection kills=30 seed=0`: what is lost when a search is hurt.

Each fault is inflicted on pretended searches (`tests.end_to_end.pretended_search`), which are resumed until they are
finished, and compared with one that nobody hurt: trials, epochs, samples, what the scheduler decided, what Optuna was
told, the reports. With two slots the order of things is nobody's choice, so what must hold of every study is checked:
each trial's numbers follow from its setting and seed alone, and each decision from the journal told again.

It prints a row a fault, and exits with status 1 if anything was lost. Some 25 minutes on two cores.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from datasets.command_line import main
from tests.end_to_end.fault_harness import PATIENCE, Bench, BusyError, Case, Loss, Session, Snapshot, loss, victim
from tests.end_to_end.faults import FAULTS, Lab, killed, lab_of, unhurt

MOST_SESSIONS = 40
KILLED = ("driver", "trial", "raylet", "gcs_server")
TWO_SLOTS, PROMOTION = "cluster.cpus=2", "scheduler=promotion"


@dataclass(frozen=True)
class Config:
    """Attributes.

    kills: with SIGKILL at random moments, in one slot; a third as many with `scheduler=promotion`, and in two slots.
    times: that each other fault is inflicted.
    seed: of everything random.
    faults: names of the table's rows, with commas; empty is all of them.
    corpora: where the corpus lies, or will; empty prepares one for this time.
    table: a file for the table, too, with a line of JSON a row.
    """

    kills: int = 30
    times: int = 2
    seed: int = 0
    faults: str = ""
    corpora: str = ""
    table: str = ""


@dataclass
class Row:
    """A fault, and all that it has cost."""

    fault: str
    times: int = 0
    studies: int = 0
    finished: int = 0
    lost: int = 0
    twice: int = 0
    again: int = 0
    allowed: int = 0
    unequal: list[str] = field(default_factory=list)

    def add(self, cost: Loss, times: int, allowed: int) -> None:
        """Count a study that was finished."""
        self.times, self.studies, self.finished = self.times + times, self.studies + 1, self.finished + 1
        self.lost, self.twice, self.again = self.lost + cost.lost, self.twice + cost.twice, self.again + cost.again
        self.allowed += allowed
        self.unequal += cost.unequal

    @property
    def harmless(self) -> bool:
        """Nothing was lost."""
        return (
            self.finished == self.studies
            and not (self.lost or self.twice or self.unequal)
            and (self.again <= self.allowed)
        )


def killed_at_random(bench: Bench, kills: int, row: Row, *words: str) -> None:
    """As many SIGKILLs as are asked for, several a study."""
    compared = TWO_SLOTS not in words
    reference = unhurt(bench, *words) if compared else None
    done = Counter[str]()
    while done.total() < kills:
        case, hurt = bench.case(*words), 0
        session = case.begin()
        while session.alive or session.process.exitcode != 0:
            if not session.alive:
                session = _taken_up(case)
            kind = bench.random.choice(KILLED)
            if done.total() < kills and bench.random.random() < 0.2:
                time.sleep(bench.random.uniform(0, 4))  # before anything is trained, or at the very end
            elif not case.happens(case.trains(bench.random.randint(1, 14))) or done.total() == kills:
                session.process.join(PATIENCE)
                continue
            time.sleep(bench.random.uniform(0, 0.3))
            pid = victim(session, kind, case) if session.alive else None
            if pid is not None and killed(pid):
                done[kind], hurt = done[kind] + 1, hurt + 1
                if kind != "trial":
                    session.process.join(PATIENCE)
        allowed = hurt * (1 if compared else 2)
        row.add(loss(case, reference, allowed), hurt, allowed)
    row.fault += f" ({', '.join(f'{kind} {done[kind]}' for kind in KILLED)})"


KILLS = {
    "kill -9": ((), 1),
    "kill -9 with scheduler=promotion": ((PROMOTION,), 3),
    "kill -9 in two slots": ((TWO_SLOTS,), 3),
}
"""Rows of random kills: words of the search, and by what the number of kills is divided."""


def _taken_up(case: Case) -> Session:
    """Resumed; or begun, if it was killed before anything was written down."""
    if len(case.sessions) > MOST_SESSIONS:
        raise case.sessions[-1].ended_early()
    if (case.folder / "study.json").exists():
        return case.resume()
    shutil.rmtree(case.folder, ignore_errors=True)
    return case.begin()


def inject(config: Config) -> None:
    """Inflict the faults, print what they have cost, and exit with status 1 if anything was lost."""
    wanted = [name for name in config.faults.split(",") if name] or [*KILLS, *FAULTS]
    root = Path(tempfile.mkdtemp(prefix="omr-faults-"))
    bench = Bench(root, Path(config.corpora or root / "corpora"), random.Random(config.seed))
    lab = None
    rows = []
    for name in wanted:
        row, began = Row(name), time.monotonic()
        try:
            if name in KILLS:
                words, divisor = KILLS[name]
                killed_at_random(bench, max(3, config.kills // divisor), row, *words)
            else:
                lab = lab or lab_of(bench)
                for _ in range(config.times):
                    case, allowed, *own = _inflicted(name, lab)
                    row.add(loss(case, own[0] if own else lab.reference, allowed), 1, allowed)
        except Exception as error:  # the other faults are inflicted all the same
            traceback.print_exc()
            row.studies += 1
            row.unequal.append(f"{type(error).__name__}: {error}"[:300])
        rows.append(row)
        print(_line(row), f"[{time.monotonic() - began:.0f} s]", *row.unequal, flush=True)
        if config.table:
            with Path(config.table).open("a") as file:
                file.write(json.dumps({**dataclasses.asdict(row), "harmless": row.harmless}) + "\n")
    print("\n" + "\n".join([HEADING, *map(_line, rows)]))
    if all(row.harmless for row in rows):
        shutil.rmtree(root)
        return
    print(f"\nsomething was lost; everything lies in {root}")
    sys.exit(1)


def _inflicted(name: str, lab: Lab) -> tuple[Case, int] | tuple[Case, int, Snapshot]:
    """A fault, as often as it takes Ray to start."""
    for _ in range(4):
        try:
            return FAULTS[name](lab)
        except BusyError as error:
            print(f"{name}: again, as {str(error).splitlines()[-1]}", file=sys.stderr)
    raise BusyError("Ray does not start")


HEADING = f"{'fault':<72} times  finished  trials lost  run twice  epochs again (allowed)  equal"


def _line(row: Row) -> str:
    return (
        f"{row.fault:<72} {row.times:>5}  {row.finished:>4}/{row.studies:<3}  {row.lost:>11}  {row.twice:>9}  "
        f"{row.again:>12} ({row.allowed:>2})       {'yes' if not row.unequal else 'NO'}"
    )


if __name__ == "__main__":
    main(inject, Config())
