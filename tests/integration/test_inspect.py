"""The sheet of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.errors import ConfigError
from datasets.images import read_gray
from datasets.inspect import InspectConfig, run, sheet
from datasets.shards import PreparedCorpus


def test_a_sheet_is_written(corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "sheet.png"
    run(InspectConfig(corpora=str(corpora), count=5, to=str(to)))
    image = read_gray(to)
    assert image.ndim == 2
    assert image.min() < 100
    assert "5 of" in capsys.readouterr().out


def test_the_sheet_shows_the_staves(corpus: PreparedCorpus) -> None:
    staff = corpus.staves("train")[0]
    page = sheet([staff])
    small = page[::2, ::2]
    height, width = staff.image.shape
    windows = np.lib.stride_tricks.sliding_window_view(small, (height - 4, width - 4))
    differences = [
        np.abs(window.astype(int) - staff.image[2:-2, 2:-2]).mean()
        for window in windows[:40, :40].reshape(-1, height - 4, width - 4)
    ]
    assert min(differences) < 12


@pytest.mark.parametrize(("field", "message"), [({"count": 0}, "`count`"), ({"to": "a.jpg"}, r"must end in \.png")])
def test_wrong_fields_are_named(field: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        InspectConfig(**field)  # type: ignore[arg-type]
