"""LOG.md as records: exact round trips, damage by its line, and the facts of the training log itself."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import LogError
from omr_model.config import TrainingConfig, replace_fields
from results.log_check import findings
from results.log_format import format_entry, format_log, parse_log
from results.log_records import Entry, LogNote, LogRun, LogStudy, TrainingLog
from results.log_table import log_table
from results.study import DEFAULT_LOG
from results.training_log import INTRODUCTION, read_log, with_entry

DAY = datetime.date(2024, 4, 11)
RUN = LogRun(number=63, date=DAY, hours=26, ser=0.74, manual=13.7, settings={"loss.alpha": 0.1}, changed="Negatives.")
STUDY = LogStudy(
    name="dropout-1",
    date=DAY,
    state="finished",
    hours=0.15,
    command="python -m search.run space=dropout",
    code="commit 9e2c1412 (the 77th)",
    space=("dropout", "depth"),
    corpus="engraved-short 0123456789ab",
    trials="8: 1 completed, 7 pruned",
    best={"model.decoder.dropout": 0.1},
    ser=0.2644,
    ser_low=0.2361,
    ser_high=0.2932,
    folder="results/studies/dropout-1",
    verdict="Better than the base.",
)

# Letters that mean something in the file come often.
texts = st.text(st.one_of(st.sampled_from('ab1.#-`|:=%,"[]()\\ \t\n'), st.characters(exclude_categories=["Cs"])))
lines = texts.map(lambda text: text.replace("\n", " ").strip())
names = lines.filter(bool)
bodies = texts.map(str.strip).filter(lambda text: not re.search(r"^## ", text, flags=re.MULTILINE))
prose = bodies.filter(lambda text: not text.startswith("- "))
numbers = st.none() | st.floats(min_value=0, allow_nan=False, allow_infinity=False)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.sampled_from(["true", "null", "1", "-1e5", "nan", "[lift]", "[1, 2]", '"', "\\u0060", "é"]),
)
paths = texts.filter(lambda text: text and not re.search(r"[\s=`]", text)) | st.just("model.encoder.depth")
settings = st.dictionaries(paths, values, max_size=4)
runs = st.builds(
    LogRun,
    number=st.integers(0, 999_999_999),
    date=st.none() | st.dates(),
    hours=numbers,
    commit=lines,
    ser=numbers,
    manual=numbers,
    settings=settings,
    changed=prose,
)
rates = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
intervals = st.one_of(
    st.just((None, None, None)), st.tuples(rates, st.none(), st.none()), st.tuples(rates, rates, rates)
)
studies = st.builds(
    lambda interval, **fields: LogStudy(ser=interval[0], ser_low=interval[1], ser_high=interval[2], **fields),
    interval=intervals,
    name=names,
    date=st.dates(),
    state=st.just("finished") | names.map("aborted: {}".format),
    hours=numbers,
    command=lines,
    code=lines,
    space=st.lists(names.filter(lambda name: "," not in name), max_size=3).map(tuple),
    corpus=lines,
    trials=lines,
    best=settings,
    manual=numbers,
    folder=lines,
    verdict=prose,
)
notes = st.builds(LogNote, title=names.filter(lambda name: not name.startswith(("Run ", "Study "))), body=bodies)
logs = st.builds(TrainingLog, introduction=bodies, entries=st.lists(runs | studies | notes, max_size=4).map(tuple))


@given(logs)
def test_what_is_written_reads_back(log: TrainingLog) -> None:
    assert repr(parse_log(format_log(log))) == repr(log)  # repr tells 1 from True and 1.0


def test_a_value_that_is_wider_than_a_line_stands_beside_its_label() -> None:
    log = TrainingLog(
        introduction="", entries=(LogRun(number=1, settings={"train.mix.effects": "x" * 130, "seed": 1}),)
    )
    assert "- Settings: `train.mix.effects=xxx" in format_log(log)
    assert parse_log(format_log(log)) == log


@given(logs)
def test_what_was_written_is_in_form(log: TrainingLog) -> None:
    text = format_log(log)
    assert format_log(parse_log(text)) == text
    assert text.endswith("\n")


def test_a_run_is_written_as_the_log_had_it() -> None:
    assert format_entry(RUN) == (
        "## Run 63\n"
        "\n"
        "- Date: 2024-04-11\n"
        "- Training time: 26 h\n"
        "- SER: 74 % (mean over photographed staves)\n"
        "- Manual validation: 13.7\n"
        "- Settings: `loss.alpha=0.1`\n"
        "\n"
        "Negatives."
    )


def test_a_study_is_written_with_its_interval_and_its_way_back() -> None:
    written = format_entry(STUDY).splitlines()
    assert written[0] == "## Study dropout-1"
    assert "- Command: `python -m search.run space=dropout`" in written
    assert "- SER: 26.44 % (95 % interval 23.61 to 29.32 %)" in written
    assert "- Space: dropout, depth" in written
    assert written[-1] == "Better than the base."


def test_long_settings_are_broken_between_words() -> None:
    run = LogRun(number=1, settings={f"model.part_{index}.depth": index for index in range(12)})
    written = format_entry(run).splitlines()
    assert max(map(len, written)) <= 120
    assert len(written) > 3
    assert parse_log(format_log(TrainingLog("", (run,)))).entries == (run,)


def test_nothing_unknown_is_written() -> None:
    assert format_entry(LogRun(number=2)) == "## Run 2"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogRun(number=1, changed="a\n## b"), "Run 1: a line that begins with `## `"),
        (lambda: LogRun(number=1, changed="- Date: 2024-04-11"), "Run 1: prose that begins with a list"),
        (lambda: LogRun(number=1, changed=" a"), "must begin and end with a word"),
        (lambda: LogRun(number=1, commit="a\nb"), "`commit` must be one line"),
        (lambda: LogRun(number=1, ser=float("nan")), "`ser` must be a number from 0 on, but got nan"),
        (lambda: LogRun(number=1, hours=-1), "`hours` must be a number from 0 on, but got -1"),
        (lambda: LogRun(number=-1), "must be at least 0"),
        (lambda: LogRun(number=1, settings={"a b": 1}), "a setting's name must be without blanks"),
        (lambda: LogRun(number=1, settings={"a": float("inf")}), "`a` must be finite"),
        (lambda: LogStudy(name="", date=DAY, state="finished"), "a study needs a name"),
        (lambda: LogStudy(name="a", date=DAY, state="lost"), "`state` must be `finished` or `aborted: REASON`"),
        (lambda: LogStudy(name="a", date=DAY, state="finished", space=("a,b",)), "names without a comma"),
        (lambda: LogStudy(name="a", date=DAY, state="finished", ser=0.1, ser_low=0.1), "an interval has two ends"),
        (lambda: LogStudy(name="a", date=DAY, state="finished", ser_low=0.1, ser_high=0.2), "belongs to a SER"),
        (lambda: LogNote(title="Run away"), "does not begin with Run or Study"),
        (lambda: LogNote(title="a", body="## b"), "would be a section of its own"),
        (lambda: TrainingLog("## a"), "would be a section of its own"),
    ],
)
def test_what_could_not_be_read_back_is_refused(make: type[Entry], message: str) -> None:
    with pytest.raises(LogError, match=re.escape(message)):
        make()


HEAD = "# Training log\n\nWords.\n\n## A note\n\nMore.\n\n"  # its last section begins in line 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected `# Training log`, but got ''"),
        ("## Run 1\n", "line 1: expected `# Training log`"),
        (f"{HEAD}## Run x\n", "line 9: expected `## Run NUMBER`, but got `## Run x`"),
        (
            f"{HEAD}## Run 1\n\n- Date: soon\n",
            "line 11, Run 1: Date: expected a date such as 2024-04-11, but got 'soon'",
        ),
        (f"{HEAD}## Run 1\n\n- Training time: 14\n", "line 11, Run 1: Training time: expected hours such as `26 h`"),
        (f"{HEAD}## Run 1\n\n- SER: 74\n", "line 11, Run 1: SER: expected `74 % (mean over"),
        (f"{HEAD}## Run 1\n\n- SER: 74 % (guessed)\n", "line 11, Run 1: SER: expected"),
        (f"{HEAD}## Run 1\n\n- SER: many %\n", "line 11, Run 1: SER: expected"),
        (f"{HEAD}## Run 1\n\n- SER: nan %\n", "line 9: Run 1: `ser` must be a number"),
        (
            f"{HEAD}## Run 1\n\n- Mood: good\n",
            "line 11, Run 1: there is no fact 'Mood'; expected one of Date, Training",
        ),
        (f"{HEAD}## Run 1\n\n- SER: 7 %\n- SER: 8 %\n", "line 12, Run 1: SER stands here twice"),
        (f"{HEAD}## Run 1\n\n- SER: 7 %\nProse.\n", "line 12, Run 1: expected `- Name: value` or an empty line"),
        (f"{HEAD}## Run 1\n\n- SER 7\n", "line 11, Run 1: expected `- Name: value`, but got '- SER 7'"),
        (f"{HEAD}## Run 1\n\n- Settings: a=1\n", "line 11, Run 1: Settings: expected settings such as"),
        (f"{HEAD}## Run 1\n\n- Settings: `a=1` `a=2`\n", "line 11, Run 1: Settings: expected settings"),
        (f"{HEAD}## Run 1\n\n- Settings: `a=1x`\n", "line 11, Run 1: Settings: expected settings"),
        (f'{HEAD}## Run 1\n\n- Settings: `a="b`\n', "line 11, Run 1: Settings: expected settings"),
        (f"{HEAD}## Study a\n\n- Date: 2024-04-11\n", "line 9, Study a: expected the facts State"),
        (f"{HEAD}## Study a\n\nNothing.\n", "line 9, Study a: expected the facts Date and State"),
        (f"{HEAD}## Study a\n\n- Date: 2024-04-11\n- State: lost\n", "line 9: Study a: `state` must be `finished`"),
        (f"{HEAD}## \n", "line 9: a note needs a title"),
    ],
)
def test_damage_is_named_by_its_line(text: str, message: str) -> None:
    with pytest.raises(LogError, match=re.escape(message)):
        parse_log(text)


def test_a_hand_may_reorder_and_break_facts() -> None:
    [run] = parse_log(
        "# Training log\n\n## Run 63\n- Settings: `loss.alpha=0.1`\n  `loss.beta=0.9`\n- SER: 74 %\n\n\nA sentence.\n\n"
    ).entries
    assert run == LogRun(number=63, ser=0.74, settings={"loss.alpha": 0.1, "loss.beta": 0.9}, changed="A sentence.")


def test_a_new_entry_is_the_first_and_a_known_one_stays_where_it_is() -> None:
    log = TrainingLog("", (LogNote(title="A"), STUDY, RUN))
    other = LogStudy(name="depth-1", date=DAY, state="finished")
    assert with_entry(log, other).entries == (other, *log.entries)
    renewed = LogStudy(name="dropout-1", date=DAY, state="aborted: interrupted")
    assert with_entry(log, renewed).entries == (LogNote(title="A"), renewed, RUN)


def test_notes_are_never_replaced() -> None:
    log = TrainingLog("", (LogNote(title="A", body="first"),))
    assert len(with_entry(log, LogNote(title="A", body="second")).entries) == 2


def rated(study: LogStudy, manual: float | None, dropout: float = 0.1) -> LogStudy:
    return LogStudy(**{**vars(study), "manual": manual, "best": {"model.decoder.dropout": dropout}})


@pytest.mark.parametrize(
    ("new", "manual"),
    [
        (rated(STUDY, None), 20.0),
        (rated(STUDY, 15.0), 15.0),
        (rated(STUDY, None, dropout=0.2), None),  # another trial is best: nobody has rated that one
    ],
)
def test_a_rating_stays_with_the_setting_it_was_given_to(new: LogStudy, manual: float | None) -> None:
    [study] = with_entry(TrainingLog("", (rated(STUDY, 20.0),)), new).studies()
    assert study.manual == manual


def test_a_log_in_form_has_no_findings() -> None:
    log = TrainingLog("Words.", (RUN, STUDY))
    assert findings(log, format_log(log)) == []


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (TrainingLog("", (RUN, STUDY, RUN)), "Run 63: it is there 2 times"),
        (TrainingLog("", (STUDY, STUDY)), "Study dropout-1: it is there 2 times"),
        (TrainingLog("", (LogRun(number=1, commit="c360ab72"),)), "Run 1: `Commit` must be a full hash"),
        (TrainingLog("", (LogRun(number=1, settings={"train.epocs": 3}),)), "Run 1: train.epocs: no such field"),
        (TrainingLog("", (LogRun(number=1, settings={"train.epochs": 0}),)), "Run 1: `train.epochs` must be at least"),
    ],
)
def test_each_fault_is_found(log: TrainingLog, message: str) -> None:
    [finding] = findings(log, format_log(log))
    assert finding.startswith(message)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("# Training log\n\n## Run 1\n\n- SER: 7 %\n", "line 5: would be written as '- SER: 7 % (mean over"),
        ("# Training log\n\nWords.\n\n\n## A\n", "line 5: would be written as '## A', but is ''"),
        ("# Training log\n\nWords.", "line 4: would be written as '', but is nothing"),
        ("# Training log\n\nWords.\n\n", "line 5: would be written as the end of the file, but is ''"),
    ],
)
def test_another_form_is_found_by_its_line(text: str, finding: str) -> None:
    [found] = findings(parse_log(text), text)
    assert found.startswith(finding)


def test_the_table_is_aligned_and_cut() -> None:
    log = TrainingLog("", (STUDY, RUN, LogNote(title="What was seen, " * 20 + "again")))
    table = log_table(log, 100).splitlines()
    assert max(map(len, table)) <= 100
    assert re.split(" {2,}", table[1]) == [
        *("2024-04-11", "study dropout-1", "finished", "26.4 % (23.6 to 29.3)", "Better than the base."),
    ]
    assert re.split(" {2,}", table[2]) == ["2024-04-11", "run 63", "74 %", "13.7", "Negatives."]
    assert table[3].endswith("...")
    starts = {line.index(word) for line, word in zip(table, ["what", "Better", "Negat", "What"], strict=True)}
    assert len(starts) == 1


def test_the_table_says_of_a_study_how_it_stands_to_the_base() -> None:
    verdict = (
        "Trial 3 is the best of 4. Its symbol error rate is 21.5 % (95 % interval 18.8 to 24.0\n%). "
        "That of the base is higher by 3.4 to 6.6 points. One seed each."
    )
    [_, row] = log_table(TrainingLog("", (replace(STUDY, verdict=verdict),)), 200).splitlines()
    assert row.endswith("That of the base is higher by 3.4 to 6.6 points.")


# The log of this repository.

LOG = read_log(DEFAULT_LOG)
FACTS = """
    77 04-26 19 9e2c1412 74 22.3
    76 04-25 16 75d86887 77 -
    75 04-24 24 b4af5424 77 -
    74 04-23 24 6580500e 77 -
    71 04-22 17 3b92eee2 77 -
    70 04-21 17 a6b87b71 75 -
    63 04-11 26 c360ab72 74 13.7
    57 04-07 14 3fc893c0 81 -
    56 04-07 14 5ec6beaf 72 13.8
    55 04-06 14 d73d5a9d 74 17.0
    51 04-05 14 cd445caa 72 18.4
    50 04-05 19 a57ee4c0 88 -
    3  04-02 24 9ddfff8b 73 23.4
    2  04-01 48 -        79 -
    1  03-24 24 516093a3 82 -
    0  -     -  -        74 9.3
"""
BY_NUMBER = {run.number: run for run in LOG.runs()}


@pytest.mark.parametrize("fact", FACTS.strip().splitlines(), ids=lambda line: f"run {line.split()[0]}")
def test_the_facts_of_a_run(fact: str) -> None:
    number, day, hours, commit, ser, manual = (None if word == "-" else word for word in fact.split())
    run = BY_NUMBER[int(number or "")]
    assert run.date == (datetime.date.fromisoformat(f"2024-{day}") if day else None)
    assert run.hours == (float(hours) if hours else None)
    assert run.commit[:8] == (commit or "")
    assert len(run.commit) == (40 if commit else 0)
    assert run.ser == float(ser or "") / 100
    assert run.manual == (float(manual) if manual else None)


def test_the_runs_are_all_there_in_the_order_of_the_log() -> None:
    assert list(BY_NUMBER) == [int(line.split()[0]) for line in FACTS.strip().splitlines()]


@pytest.mark.parametrize("run", LOG.runs(), ids=lambda run: run.title)
def test_a_search_can_begin_with_every_run(run: LogRun) -> None:
    config = replace_fields(TrainingConfig(), run.settings)
    assert config.model.encoder.depth == config.model.decoder.depth == (6 if run.number == 77 else 4)
    assert config.model.backbone.drop_rate == config.model.backbone.drop_path_rate
    assert config.train.mix.lengths == (2 if run.number >= 63 else 1)
    assert (config.loss.focal_gamma > 0) == (run.number in (70, 71))
    assert config.loss.token_weights.accidental == (10 if run.number == 74 else 1)
    assert (config.model.backbone.family == "inception_resnet_v2") == (run.number == 50)


def test_what_the_runs_changed_is_in_their_settings() -> None:
    def column(path: str) -> dict[int, object]:
        return {number: run.settings[path] for number, run in BY_NUMBER.items() if path in run.settings}

    dropout = column("model.backbone.drop_rate")
    assert (dropout[51], dropout[55], dropout[56], dropout[57]) == (0.0, 0.2, 0.1, 0.8)
    assert {number for number, value in column("optimizer.weight_decay").items() if value == 0.001} == {71}
    assert {number for number, value in column("optimizer.learning_rate").items() if value == 1e-3} == {1}
    assert {number for number, value in column("model.vocabulary").items() if value == "reduced"} == {
        *(3, 50, 51, 55, 56, 57, 63),
    }
    weights = {number: (value, column("loss.beta")[number]) for number, value in column("loss.alpha").items()}
    assert {number: pair for number, pair in weights.items() if pair != (0.1, 0.9)} == {
        **{1: (0.4, 0.6), 74: (0.2, 0.8)},
        **dict.fromkeys((70, 71), (0.1, 1.0)),
    }
    assert column("train.epochs") == {
        **dict.fromkeys((71, 74, 75, 76, 77), 15),
        **dict.fromkeys((63, 70), 25),
        **dict.fromkeys((55, 56, 57), 30),
        **dict.fromkeys((3, 50, 51), 50),
        1: 40,
    }


def test_the_log_of_this_repository_is_in_form() -> None:
    text = DEFAULT_LOG.read_text(encoding="utf-8")
    assert format_log(parse_log(text)) == text
    assert findings(LOG, text) == []


def test_a_new_log_begins_in_form() -> None:
    log = TrainingLog(INTRODUCTION)
    assert parse_log(format_log(log)) == log
