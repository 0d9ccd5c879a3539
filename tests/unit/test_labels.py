"""How a trial is called."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from search.labels import LONGEST, trial_label


def test_a_label_is_the_number_and_the_settings_with_names_as_short_as_can_be() -> None:
    assert trial_label(7, {"model.decoder.dropout": 0.1}) == "0007 dropout=0.1"
    settings = {"model.decoder.depth": 6, "model.backbone.layers": "[2, 3]"}
    assert trial_label(12, settings) == "0012 depth=6 layers=[2, 3]"
    both = {"model.encoder.dropout": 0.1, "model.decoder.dropout": 0.0, "dropout": 0.25}
    assert trial_label(12, both) == "0012 encoder.dropout=0.1 decoder.dropout=0 dropout=0.25"
    assert trial_label(0, {}) == "0000"


@given(
    st.integers(0, 99_999),
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,9}(\.[a-z_]{1,9}){0,3}", fullmatch=True), st.floats() | st.integers() | st.text("a/-")
    ),
)
def test_any_label_is_one_name_of_a_folder(number: int, settings: dict[str, float | int | str]) -> None:
    label = trial_label(number, settings)
    assert Path(label).name == label
    assert label.startswith(f"{number:04d}")
    assert len(label) <= LONGEST
