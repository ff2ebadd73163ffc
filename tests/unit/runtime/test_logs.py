from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from metaflow.mflog import mflog

from metaflow_dagster.runtime import logs
from metaflow_dagster.runtime.logs import StreamLog, kept, plain, structured

text = st.binary(max_size=50).map(lambda line: line.replace(b"\n", b""))


def messages(log: StreamLog) -> list[bytes]:
    return [plain(line) for line in log.text().splitlines(keepends=True)]


@given(text, st.sampled_from([b"\n", b""]))
def test_line_comes_back(line: bytes, ending: bytes) -> None:
    assert plain(structured(line + ending)) == line + ending


@given(text)
def test_line_is_shown_as_it_is(line: bytes) -> None:
    assert plain(line) == line


def test_line_that_was_stored_where_it_arose_is_not_stored_again() -> None:
    line = mflog.decorate("task", "far away\n")
    assert kept(line) == b""
    assert plain(line) == b"far away\n"


def test_line_that_could_not_be_stored_where_it_arose_is_stored() -> None:
    line = mflog.decorate("task", "far away\n")
    assert kept(mflog.set_should_persist(line)) == line


def test_everything_is_kept_of_a_short_log() -> None:
    log = StreamLog()
    lines = [b"%d\n" % i for i in range(1000)]
    for line in lines:
        log.add(structured(line))
    assert messages(log) == lines


def test_beginning_and_end_are_kept_of_a_long_log() -> None:
    log = StreamLog()
    line = b"x" * 1000 + b"\n"
    for _ in range(20_000):
        log.add(structured(line))
    log.add(structured(b"last\n"))
    assert len(log.text()) < logs.LOG_BYTES + 2 * logs.LOG_LAST_LINES * 1000
    *_, last = messages(log)
    assert last == b"last\n"
    [note] = [one for one in messages(log) if b"left out" in one]
    assert int(note[1:].split()[0]) == 20_001 - (len(messages(log)) - 1)


def test_long_lines_of_the_end_are_cut() -> None:
    log = StreamLog()
    log.room = 0
    log.add(structured(b"x" * 50_000 + b"\n"))
    log.add(structured(b"y\n"))
    cut, whole = messages(log)
    assert len(cut) < logs.LONGEST_LAST_LINE
    assert whole == b"y\n"
