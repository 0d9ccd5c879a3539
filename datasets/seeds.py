"""Seeds for the parts of a whole: the same in every process and on every machine."""

from __future__ import annotations

import hashlib


def seed_from(seed: int, name: str) -> int:
    """A seed for the part called `name`, 0 <= seed < 2**63."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
