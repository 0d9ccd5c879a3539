"""Starting Ray beside another search on the same machine."""

from __future__ import annotations

import socket

from search.engine.cluster import _free_port


def test_another_port_is_taken_where_the_wanted_one_is_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert _free_port(taken) not in (taken, 0)
    assert _free_port(taken) == taken
