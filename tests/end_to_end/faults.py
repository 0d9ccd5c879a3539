"""Faults that are inflicted on a search, each of them a function; `FAULTS` names them.

Each is inflicted once, and gives the finished study and the epochs that it may have cost.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.fault_harness import EPOCHS, Bench, Case, Loss, Snapshot, loss, snapshot

USER_ERROR, INTERRUPTED = 2, 130


@dataclass
class Lab:
    """What faults are inflicted on: the bench, a study that nobody hurt, and one that was killed in an epoch."""

    bench: Bench
    reference: Snapshot
    killed: Case

    def moment(self) -> int:
        """An epoch, in the middle of a study."""
        return self.bench.random.randint(4, 26)


def lab_of(bench: Bench) -> Lab:
    """A laboratory; takes three sessions."""
    reference = unhurt(bench)
    return Lab(bench, reference, killed_in_an_epoch(bench, reference))


def unhurt(bench: Bench, *words: str, **pretence: object) -> Snapshot:
    """A study of these words that is let be; run once."""
    key = repr((words, sorted(pretence.items())))
    if key not in bench.unhurt:
        case = bench.case(*words, **pretence)
        _expect(case, case.begin().wait(), 0)
        bench.unhurt[key] = snapshot(case)
    return bench.unhurt[key]


def killed_in_an_epoch(bench: Bench, reference: Snapshot) -> Case:
    """A study that was stopped, resumed, and killed in an epoch of a trial with three checkpoints behind it."""
    rows = reference.tables["trials"]
    number = next(row["number"] for row in rows if row["state"] == "completed" and row["origin"] != "base")
    case = bench.case()
    session = case.begin()
    case.until(lambda: case.trained()[-1:] != [] and case.trained()[-1][:2] >= (number, 2))
    session.kill(signal.SIGTERM)
    _expect(case, session.wait(), INTERRUPTED)
    session = case.resume()
    case.until(lambda: case.trained()[-1][:2] >= (number, EPOCHS - 1))
    session.kill(signal.SIGKILL)
    session.process.join()
    return case


def killed(pid: int) -> bool:
    """End a process with SIGKILL; whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _told_to_end(number: signal.Signals) -> Callable[[Lab], tuple[Case, int]]:
    def fault(lab: Lab) -> tuple[Case, int]:
        case = lab.bench.case()
        session = case.begin()
        case.until(case.trains(lab.moment()))
        session.kill_group(number)
        _expect(case, session.wait(), INTERRUPTED)
        case.finish()
        return case, 0

    return fault


def sigint_twice(lab: Lab) -> tuple[Case, int]:
    case = lab.bench.case()
    session = case.begin(slow=(2, 2, 60.0))
    case.until(lambda: case.trained()[-1:] != [] and case.trained()[-1][:2] == (2, 2))
    session.kill(signal.SIGINT)
    case.until(lambda: "Ctrl-C again" in session.words())
    session.kill(signal.SIGINT)
    _expect(case, session.wait(), INTERRUPTED)
    case.finish()
    return case, 1


def sigterm_in_a_long_epoch(lab: Lab) -> tuple[Case, int]:
    case = lab.bench.case("trial.grace_seconds=1")
    session = case.begin(slow=(2, 2, 60.0))
    case.until(lambda: case.trained()[-1:] != [] and case.trained()[-1][:2] == (2, 2))
    session.kill(signal.SIGTERM)
    _expect(case, session.wait(), INTERRUPTED)
    case.finish()
    return case, 1


def trial_killed_for_memory(lab: Lab) -> tuple[Case, int]:
    """SIGKILL, as the kernel does it; nobody resumes anything."""
    case = lab.bench.case()
    session = case.begin()
    case.until(case.trains(lab.moment()))
    killed(case.trained()[-1][2])
    _expect(case, session.wait(), 0)
    return case, 1


def hang(lab: Lab) -> tuple[Case, int]:
    """A trial's process stands still."""
    case = lab.bench.case("trial.hang_minutes=0.06")
    session = case.begin()
    case.until(case.trains(lab.moment()))
    os.kill(case.trained()[-1][2], signal.SIGSTOP)
    _expect(case, session.wait(), 0)
    return case, 1


def journal_out_of_disk(lab: Lab) -> tuple[Case, int]:
    case = lab.bench.case()
    _expect(case, case.begin(full_after=lab.moment()).wait(), USER_ERROR)
    case.finish()
    return case, 1


def trial_out_of_disk(lab: Lab) -> tuple[Case, int]:
    case = lab.bench.case(raises=(2, 2, "no space in a trial"), once=True)
    _expect(case, case.begin().wait(), USER_ERROR)
    case.finish()
    return case, 1


def disk_full(lab: Lab) -> tuple[Case, int]:
    """A small disk, filled while the search runs, and emptied again."""
    with _small_disk() as disk:
        case = lab.bench.case("disk.reserve=0", studies=disk)
        session = case.begin()
        case.until(case.trains(lab.moment()))
        filling = disk / "filling"
        while session.alive:  # the keeper makes room now and then
            with filling.open("ab", buffering=0) as file:  # else what did not fit is tried once more at its end
                try:
                    file.write(bytes(2**14))
                except OSError:
                    time.sleep(0.05)
        _expect(case, session.wait(), USER_ERROR)
        filling.unlink()
        case.finish()
        return _off_the_disk(case), 1


def read_only(lab: Lab) -> tuple[Case, int]:
    """A disk that may only be read refuses a new study and an old one, and changes neither."""
    with _small_disk() as disk:
        case = lab.killed.copied()
        shutil.copytree(case.studies, disk, dirs_exist_ok=True)
        case.studies = disk
        _mount("-o", "remount,ro", str(disk))
        _expect(case, case.resume("disk.reserve=0").wait(), USER_ERROR)
        other = lab.bench.case("disk.reserve=0", name="another", studies=disk)
        _expect(other, other.begin().wait(), USER_ERROR)
        _mount("-o", "remount,rw", str(disk))
        case.finish("disk.reserve=0")
        return _off_the_disk(case), 1


def clock_jumps(lab: Lab) -> tuple[Case, int]:
    case = lab.bench.case(clock_jumps=True)
    session = case.begin()
    case.until(case.trains(20))
    session.kill(signal.SIGINT)
    _expect(case, session.wait(), INTERRUPTED)
    case.finish()
    return case, 0


def second_driver(lab: Lab) -> tuple[Case, int]:
    """The same study twice at once: the second one is refused, and the first does not notice."""
    case = lab.bench.case()
    first = case.begin()
    case.until(case.trains(lab.moment()))
    for second in (case.resume(), case.begin()):
        _expect(case, second.wait(), USER_ERROR)
    _expect(case, first.wait(), 0)
    return case, 0


def two_at_once(lab: Lab) -> tuple[Case, int]:
    """Two searches side by side in one folder; both are as if they were alone."""
    case = lab.bench.case()
    first = case.begin()
    other = lab.bench.case(name="side-by-side", studies=case.studies)
    second = other.begin()
    _expect(case, first.wait(), 0)
    _expect(other, second.wait(), 0)
    cost = loss(other, lab.reference, 0)
    if cost != Loss():
        raise AssertionError(f"the other one: {cost}")
    return case, 0


def killed_before_its_reports(lab: Lab) -> tuple[Case, int]:
    case = lab.bench.case()
    session = case.begin()
    events = case.folder / "events.jsonl"
    case.until(lambda: events.exists() and '"session_ended"' in events.read_text())
    session.kill(signal.SIGKILL)
    session.process.join()
    case.finish()
    return case, 0


def _raised(what: str) -> Callable[[Lab], tuple[Case, int, Snapshot]]:
    """A trial of the same study raises this whenever it gets there: with a kill afterwards, and without."""

    def inflict(lab: Lab) -> tuple[Case, int, Snapshot]:
        raises = (2, 2, what)
        reference = unhurt(lab.bench, raises=raises)
        state = "diverged" if what == "diverged" else "failed"
        if reference.tables["trials"][2]["state"] != state:
            raise AssertionError(f"trial 2: {reference.tables['trials'][2]}")
        case = lab.bench.case(raises=raises)
        session = case.begin()
        case.until(case.trains(lab.moment()))
        session.kill(signal.SIGKILL)
        session.process.join()
        case.finish()
        return case, 1, reference

    return inflict


def _damaged(damage: Callable[[Path, random.Random], int]) -> Callable[[Lab], tuple[Case, int]]:
    """Damage of a folder whose driver was killed, which costs so many epochs beside the one of the kill."""

    def inflict(lab: Lab) -> tuple[Case, int]:
        case = lab.killed.copied()
        cost = damage(case.folder, lab.bench.random)
        case.finish()
        return case, 1 + cost

    return inflict


def _newest(folder: Path) -> Path:
    return max(folder.glob("tune/*/*/checkpoint_*"), key=lambda path: path.stat().st_mtime_ns)


def truncate_checkpoint(folder: Path, rng: random.Random) -> int:
    file = _newest(folder) / rng.choice(["model.safetensors", "resume.pt", "checkpoint.json"])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return 1


def flip_byte(folder: Path, rng: random.Random) -> int:
    file = _newest(folder) / rng.choice(["model.safetensors", "resume.pt"])
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1
    file.write_bytes(bytes(data))
    return 1


def corrupt_reports(folder: Path, rng: random.Random) -> int:
    for file in (folder / "reports").glob("*.parquet"):
        file.write_bytes(file.read_bytes()[: rng.randrange(8, 400)])
    return 0


def corrupt_newest_samples(folder: Path, rng: random.Random) -> int:
    (_newest(folder) / "samples.parquet").write_bytes(b"PAR1" + rng.randbytes(500))
    return 0


def corrupt_all_samples(folder: Path, rng: random.Random) -> int:
    for file in folder.glob("tune/*/*/checkpoint_*/samples.parquet"):
        file.write_bytes(b"PAR1" + rng.randbytes(500))
    return 0


def corrupt_optuna(folder: Path, rng: random.Random) -> int:
    file = folder / "optuna.journal"
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))] + rng.randbytes(99))
    return 0


def delete_optuna(folder: Path, rng: random.Random) -> int:  # noqa: ARG001
    (folder / "optuna.journal").unlink()
    return 0


def delete_record(folder: Path, rng: random.Random) -> int:  # noqa: ARG001
    (folder / "study.json").unlink()
    return 0


def delete_reports(folder: Path, rng: random.Random) -> int:  # noqa: ARG001
    shutil.rmtree(folder / "reports")
    return 0


def delete_trial_folder(folder: Path, rng: random.Random) -> int:  # noqa: ARG001
    """All that the trial in whose epoch the search was killed has left; it begins anew."""
    name = _newest(folder).parent.name[: len("trial-0000")]
    for path in list(folder.glob(f"tune/*/{name}*")):
        shutil.rmtree(path)
    return EPOCHS - 2


def tear_journal(folder: Path, rng: random.Random) -> int:
    file = folder / "events.jsonl"
    data = file.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    file.write_bytes(data[: rng.randrange(last + 1, len(data))])
    return 1


def several_at_once(folder: Path, rng: random.Random) -> int:
    delete_optuna(folder, rng)
    delete_record(folder, rng)
    return flip_byte(folder, rng)


FAULTS: dict[str, Callable[[Lab], tuple[Case, int] | tuple[Case, int, Snapshot]]] = {
    "SIGINT": _told_to_end(signal.SIGINT),
    "SIGINT twice": sigint_twice,
    "SIGTERM": _told_to_end(signal.SIGTERM),
    "SIGHUP": _told_to_end(signal.SIGHUP),
    "SIGTERM in an epoch longer than its grace": sigterm_in_a_long_epoch,
    "kill -9 of a trial as for want of memory": trial_killed_for_memory,
    "exception in a trial": _raised("exception"),
    "CUDA out of memory in a trial": _raised("CUDA out of memory"),
    "MemoryError in a trial": _raised("MemoryError"),
    "diverged trial": _raised("diverged"),
    "hang (SIGSTOP of a trial)": hang,
    "no space for the journal (injected ENOSPC)": journal_out_of_disk,
    "no space for a checkpoint (injected ENOSPC)": trial_out_of_disk,
    "disk full (a small tmpfs)": disk_full,
    "read-only disk": read_only,
    "newest checkpoint cut off": _damaged(truncate_checkpoint),
    "newest checkpoint with a flipped bit": _damaged(flip_byte),
    "corrupt reports/*.parquet": _damaged(corrupt_reports),
    "corrupt samples.parquet of the newest checkpoint": _damaged(corrupt_newest_samples),
    "corrupt samples.parquet of all checkpoints": _damaged(corrupt_all_samples),
    "corrupt optuna.journal": _damaged(corrupt_optuna),
    "deleted optuna.journal": _damaged(delete_optuna),
    "deleted study.json": _damaged(delete_record),
    "deleted reports/": _damaged(delete_reports),
    "deleted folder of a trial that runs": _damaged(delete_trial_folder),
    "torn last line of events.jsonl": _damaged(tear_journal),
    "flipped bit with optuna.journal and study.json deleted": _damaged(several_at_once),
    "clock a day ahead and then behind": clock_jumps,
    "same study driven twice": second_driver,
    "two searches at once": two_at_once,
    "kill -9 between last trial and reports": killed_before_its_reports,
}


def _expect(case: Case, status: int, wanted: int) -> None:
    if status != wanted:
        raise case.sessions[-1].ended_early()


@contextmanager
def _small_disk() -> Iterator[Path]:
    """A disk of 8 MB; needs the right to mount."""
    disk = Path(tempfile.mkdtemp(prefix="omr-disk-"))
    _mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk))
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _off_the_disk(case: Case) -> Case:
    """Its study, where it stays."""
    kept = case.scratch / "studies"
    shutil.copytree(case.studies, kept, dirs_exist_ok=True)
    case.studies = kept
    return case
