"""Tables of a report hold what they show, whatever names come in from elsewhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from results.report_sections import code, table


def test_a_cell_stays_a_cell() -> None:
    text = table(["name"], [["one\n| two"], ["<img src=x onerror=alert(1)>"], ["`a < b` < c"]])
    assert text.splitlines()[2:] == ["| one \\| two |", "| &lt;img src=x onerror=alert(1)> |", "| `a < b` &lt; c |"]


@given(st.text(max_size=30))
def test_a_name_as_code_is_one_span_on_one_line(name: str) -> None:
    span = code(name)
    assert span.count("`") == 2
    assert len(span.splitlines()) == 1
    assert "\n" not in table(["name"], [[span]]).splitlines()[2]


@given(st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), max_size=4))
def test_a_table_has_a_line_a_row(rows: list[list[str]]) -> None:
    lines = table(["a", "b"], rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines)
