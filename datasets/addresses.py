"""Places that several machines share: plain folders, and addresses such as `s3://bucket/studies`.

A plain folder, on NFS say, is used where it is mounted. An address is anything with `://` that `pyarrow.fs` reads:
s3, gs, abfs, file. What lies there is worked on in a folder of this machine's own (`working_folder`), which is named
after the address, so that every command finds the same one and knows from the folder alone where its address is
(`place_of`). Where these folders lie is said by the environment (OMR_SEARCH_CACHE), not by a field: every command and
every node must find its own, and nodes have disks of different names.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import uuid
from pathlib import Path

CACHE_VARIABLE = "OMR_SEARCH_CACHE"
ADDRESS_FILE = ".address"


def is_address(place: str | Path) -> bool:
    """Whether it is an address, and no path."""
    return isinstance(place, str) and "://" in place


def joined(address: str, *names: str) -> str:
    """An address below another one; what follows a `?` stays at the end."""
    place, mark, options = address.partition("?")
    return "/".join([place.rstrip("/"), *names]) + mark + options


def split(address: str) -> tuple[str, str]:
    """The address of the folder that something is in, and the name of that: the inverse of `joined`."""
    place, mark, options = address.partition("?")
    above, _, name = place.rstrip("/").rpartition("/")
    return above + mark + options, name


def resolved(address: str) -> str:
    """An address without `..` in it."""
    place, mark, options = address.partition("?")
    scheme, _, path = place.partition("://")
    return f"{scheme}://{posixpath.normpath(path)}{mark}{options}"


def cache_folder() -> Path:
    """Where working folders lie: `OMR_SEARCH_CACHE`, else omr-search in the user's cache."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omr-search"


def working_folder(place: str | Path) -> Path:
    """The folder to work in: a path is it itself, an address has one in the cache, which this makes.

    Raises:
        OSError: it cannot be made.
    """
    if not is_address(place):
        return Path(place)
    address = str(place).partition("?")[0].rstrip("/")
    name = re.sub(r"[^\w.-]+", "-", address.partition("://")[2]).strip("-.")[-60:]
    folder = cache_folder() / f"{name}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / ADDRESS_FILE
    if not marker.exists() or marker.read_text(encoding="utf-8") != place:
        temporary = marker.with_name(f"{ADDRESS_FILE}.{uuid.uuid4().hex}")
        temporary.write_text(str(place), encoding="utf-8")
        temporary.replace(marker)
    return folder


def place_of(folder: Path) -> Path | str:
    """The address that a folder is the working folder of; any other folder is its own place."""
    marker = folder / ADDRESS_FILE
    return marker.read_text(encoding="utf-8") if marker.exists() else folder
