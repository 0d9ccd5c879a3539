"""Machines of their own on this one: namespaces of Linux, joined by a cable.

Each has its own address, name, processes and folder for Ray's sessions. Files they share, as over NFS.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MINE = ("--net", "--uts", "--pid", "--mount")
FILES = "mount -t proc proc /proc && mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray"
CABLE = "ip link add lan type veth peer name far"


@dataclass(frozen=True)
class Host:
    """A machine that is up, with all its processes as long as its first one lives."""

    name: str
    address: str
    first: int

    def command(self, words: Sequence[str]) -> list[str]:
        """The same command, there."""
        here = ("nsenter", f"--target={self.first}", *MINE)
        return [*here, f"--wd={Path.cwd()}", "--", *words]

    def runs(self, program: str) -> bool:
        """Whether one of that name does; one that has ended stays in the list, as nobody asks after it here."""
        words = self.command(["ps", "-C", program, "-o", "stat="])
        listed = subprocess.run(words, capture_output=True, text=True, check=False)
        return any(not state.startswith("Z") for state in listed.stdout.split())

    def unplug(self) -> None:
        """Pull the cable: nobody is told of it."""
        _run(self.command(["ip", "link", "set", "lan", "down"]))

    def plug_in(self) -> None:
        """Put it in again."""
        _run(self.command(["ip", "link", "set", "lan", "up"]))


def hindrance() -> str | None:
    """Why no such machine can be made here, if so."""
    if missing := [program for program in ("unshare", "nsenter", "ip", "ps") if shutil.which(program) is None]:
        return f"no {missing[0]} here"
    words = ["unshare", *MINE, "--fork", "sh", "-c", f"{FILES} && {CABLE}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else None


@contextmanager
def two_hosts(first: str, second: str) -> Iterator[tuple[Host, Host]]:
    """Two machines with a cable between them, for as long as the block lasts."""
    booted = []
    try:
        hosts = []
        for number, address in enumerate((first, second), 1):
            boot = f"hostname host-{number} && {FILES} && exec sleep infinity"
            words = ["unshare", *MINE, "--fork", "--kill-child", "sh", "-c", boot]
            booted.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
            hosts.append(Host(f"host-{number}", address, _first_process_of(booted[-1].pid)))
        one, other = hosts
        cable = f"link add lan netns {one.first} type veth peer lan netns {other.first}"
        _run(["ip", *cable.split()])
        for host in hosts:
            for words in (f"addr add {host.address}/24 dev lan", "link set lan up", "link set lo up"):
                _run(host.command(["ip", *words.split()]))
        yield one, other
    finally:
        for process in booted:
            process.kill()
            process.wait()


def _first_process_of(outside: int) -> int:
    """The first process in the namespaces that a process has made, once it has them all."""
    for _ in range(500):
        children = Path(f"/proc/{outside}/task/{outside}/children").read_text("ascii").split()
        if children and Path(f"/proc/{children[0]}/comm").read_text("ascii") == "sleep\n":
            return int(children[0])
        time.sleep(0.01)
    raise TimeoutError("no machine was up within five seconds")


def _run(words: Sequence[str]) -> None:
    subprocess.run(words, check=True)
