"""What a conversion costs as a corpus grows: `python -m tests.benchmarks.conversion_growth`.

Incipits in the layout of Camera-PrIMuS are made in a temporary folder: a few drawn pictures under many names, each
with a label of its own, because the same label in two splits would be rejected. Each size is converted in a process
of its own, by one worker, and its peak memory is that process's (main) and its largest child's (worker).

Figures of one machine, of one moment: compare the rows, not the machines.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.command_line import check_range, main
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from tests.corpora import camera_primus

_PICTURES = 40
_INCIPITS = 87_678  # of Camera-PrIMuS


@dataclass(frozen=True, kw_only=True)
class GrowthConfig:
    """What is measured.

    Attributes:
        sizes: incipits in each corpus.
        staff: the size that they are converted to.
        root, corpora: used by the measuring process itself.
    """

    sizes: tuple[int, ...] = (2_000, 20_000)
    staff: str = "full"
    root: str = ""
    corpora: str = ""

    def __post_init__(self) -> None:
        for size in self.sizes:
            check_range("sizes", size, _PICTURES)


def make_corpus(root: Path, size: int) -> None:
    """So many incipits, with pictures that are links to a few, and labels of random pitches."""
    camera_primus.make(root / "pattern", _PICTURES)
    shutil.move(root / "pattern" / "Corpus", root / "few")
    shutil.rmtree(root / "pattern")
    pictures = sorted(path for path in (root / "few").rglob("*_distorted.jpg"))
    rng = np.random.default_rng(0)
    for number in range(size):
        name = f"{number:09}-1_1_1"
        folder = root / "Corpus" / name
        folder.mkdir(parents=True)
        os.link(pictures[number % _PICTURES], folder / f"{name}_distorted.jpg")
        notes = "\t".join(f"note-{'CDEFGAB'[step]}4_eighth" for step in rng.integers(0, 7, 24))
        (folder / f"{name}.semantic").write_text(f"clef-G2\tkeySignature-CM\t{notes}\tbarline\t")
    shutil.rmtree(root / "few")


def measure(config: GrowthConfig) -> None:
    """Convert the corpus in `root` and print what that took as JSON."""
    began = time.monotonic()
    corpus = prepare(
        PrepareConfig(data="camera_primus", staff=config.staff, root=config.root, workers=1, corpora=config.corpora),
        quiet=True,
    )
    usage = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps([corpus.manifest.staves, time.monotonic() - began, corpus.manifest.bytes, *usage]))


def run(config: GrowthConfig) -> None:
    """Convert corpora of several sizes, and say what each took."""
    if config.root:
        measure(config)
        return
    print(f"{'incipits':>9} {'staves':>8} {'seconds':>8} {'staves/s':>9} {'MB':>7} {'main MiB':>9} {'worker MiB':>11}")
    for size in config.sizes:
        with tempfile.TemporaryDirectory(prefix="omr-growth-") as folder:
            make_corpus(Path(folder, "root"), size)
            words = [f"root={folder}/root", f"corpora={folder}/corpora", f"staff={config.staff}"]
            command = [sys.executable, "-m", "tests.benchmarks.conversion_growth", *words]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        staves, seconds, size_on_disk, main_memory, worker_memory = json.loads(output)
        print(
            f"{size:9,} {staves:8,} {seconds:8.1f} {staves / seconds:9.1f} {size_on_disk / 1e6:7.1f} "
            f"{main_memory:9,} {worker_memory:11,}"
        )
    print(
        f"at the last row's speed the {_INCIPITS:,} incipits of Camera-PrIMuS take one core "
        f"{_INCIPITS * seconds / staves / 3600:.1f} hours"
    )


if __name__ == "__main__":
    main(run, GrowthConfig())
