"""`python -m search.runtime_env`, which prints keys only when it is asked for them."""

from __future__ import annotations

import pytest

from datasets.errors import ConfigError
from search.runtime_env import main


def test_help_prints_no_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    main(["--help"])
    printed = capsys.readouterr().out
    assert "ray job submit" in printed
    assert "AWS_" in printed
    assert "very secret" not in printed
    main([])
    assert "very secret" in capsys.readouterr().out


def test_any_other_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="it takes no word but --help"):
        main(["space=dropout"])
    assert capsys.readouterr().out == ""
