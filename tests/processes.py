"""A process and all that it has started: which they are, and where they listen. Any of them may end while one looks."""

from __future__ import annotations

from contextlib import suppress

import psutil

LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started; of one that has ended, nobody."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def listening(pid: int) -> set[str]:
    """The addresses at which a process and all that it has started listen."""
    addresses = set()
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections("tcp")
            addresses |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    return addresses


def name_of(process: psutil.Process) -> str:
    """The name of its program: `raylet`; nothing once it has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""
