"""What is stored of the output of a step is what Metaflow's own runtime stores."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

from hypothesis import example, given
from hypothesis import strategies as st
from metaflow.mflog import mflog
from metaflow.runtime import TruncatedBuffer, Worker

from metaflow_dagster.runtime import logs
from metaflow_dagster.runtime.logs import StreamLog, pieces
from metaflow_dagster.runtime.process import copy_lines

MEBIBYTE = 1024 * 1024


class Chunks(io.RawIOBase):
    """A pipe through which something comes in chunks of some sizes, again and again."""

    def __init__(self, content: bytes, sizes: Sequence[int]) -> None:
        self.content = io.BytesIO(content)
        self.sizes = self.endless(sizes)

    @staticmethod
    def endless(sizes: Sequence[int]) -> Iterator[int]:
        while True:
            yield from sizes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        chunk = self.content.read(min(len(buffer), next(self.sizes)))
        buffer[: len(chunk)] = chunk
        return len(chunk)


class NativeWorker(Worker):  # type: ignore[misc]
    """Metaflow's reader of the output of a task, without a task."""

    def __init__(self, pipe: io.BufferedReader, most: int) -> None:
        self.buffer = TruncatedBuffer("stdout", most)
        self._logs = {0: (pipe, self.buffer)}
        self._encoding = "UTF-8"
        self._proc = SimpleNamespace(pid=0)
        self.task = SimpleNamespace(log=lambda *args, **options: None)


def native_log(content: bytes, most: int = 10 * MEBIBYTE) -> bytes:
    worker = NativeWorker(io.BufferedReader(io.BytesIO(content)), most)  # type: ignore[arg-type]
    while worker.read_logline(0):
        pass
    return bytes(worker.buffer.get_bytes())


def captured(
    content: bytes,
    sizes: Sequence[int] = (8192,),
    piece_bytes: int = logs.PIECE_BYTES,
    log: StreamLog | None = None,
) -> tuple[StreamLog, str]:
    """What is kept of some output, and what Dagster's log gets."""
    log, shown = log or StreamLog(), io.StringIO(newline="")
    copy_lines(io.BufferedReader(Chunks(content, sizes)), [shown], log, piece_bytes)
    return log, shown.getvalue()


def messages(stored: bytes) -> list[bytes]:
    """The lines as Metaflow's client reads them: `Task.stdout` joins them by newlines."""
    return [line.msg for line in mflog.merge_logs([stored])]


CHARACTERS = "aé€😀 \t\r\x00]|!["
line = st.one_of(
    st.text(CHARACTERS, max_size=30).map(str.encode),
    st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")),
    st.sampled_from(["😀" * 40, "€" * 70, "é" * 99, "x" * 200]).map(str.encode),
)
elsewhere = line.map(lambda text: mflog.decorate("task", text))
any_line = st.one_of(
    line,
    elsewhere,
    elsewhere.map(mflog.set_should_persist),
    line.map(lambda text: b"[MFLOG|0|no time" + text),
)
output = st.builds(
    lambda lines, end: b"\n".join([*lines, end]), st.lists(any_line, max_size=12), any_line
)
sizes = st.lists(st.integers(1, 100), min_size=1, max_size=5)


@given(output, sizes, st.integers(100, 300))
@example(b"", [1], 100)
@example("é".encode() * 100_000 + b"\n{}\r\n\xff\x00", [8192], logs.PIECE_BYTES)
@example(b"x" * (3 * MEBIBYTE) + "é".encode() * MEBIBYTE, [8192], logs.PIECE_BYTES)
def test_what_is_stored_is_what_metaflow_stores(
    content: bytes, sizes: list[int], piece_bytes: int
) -> None:
    log, _ = captured(content, sizes, piece_bytes)
    assert messages(log.text()) == messages(native_log(content))


@given(st.lists(line, max_size=12), sizes, st.integers(4, 300))
def test_dagster_gets_everything_as_it_is(
    lines: list[bytes], sizes: list[int], piece_bytes: int
) -> None:
    content = b"\n".join(lines)
    _, shown = captured(content, sizes, piece_bytes)
    assert shown == content.decode(errors="replace")


@given(st.lists(st.text(CHARACTERS, max_size=300), max_size=40), st.integers(4, 100))
@example(["é" * 5000], 33)
@example(["", "😀" * 5000, ""], 10)
@example(["x"] * 5000, 100)
def test_what_memory_should_not_hold_is_left_out_between_characters(
    lines: list[str], piece_bytes: int
) -> None:
    content = "\n".join(lines).encode()
    log, _ = captured(content, piece_bytes=piece_bytes, log=StreamLog(1000, 600))
    read = messages(log.text())
    if not log.bytes_left_out:
        assert read == messages(native_log(content))
        return
    assert len(log.text()) < 1000 + 600 + 300
    for message in read:
        message.decode()  # as Metaflow's client does, which raises at half a character
    gap = next(index for index, message in enumerate(read) if b" are left out here;" in message)
    beginning, end = b"\n".join(read[:gap]), b"\n".join(read[gap + 1 :])
    end += b"\n" if content.endswith(b"\n") else b""
    missing, in_lines = (int(number) for number in read[gap][1:].split() if number.isdigit())
    begins_at = len(content) - missing - len(end)
    assert beginning in (content[:begins_at], content[:begins_at].removesuffix(b"\n"))
    assert content.endswith(end)
    left_out = content[begins_at : begins_at + missing]
    assert in_lines == len(left_out.removesuffix(b"\n").split(b"\n"))


def test_as_much_is_kept_of_a_long_log_as_metaflow_keeps() -> None:
    content = b"".join(b"%07d" % number + b"x" * 900 + b"\n" for number in range(20_000))
    stored = captured(content)[0].text()
    *native, truncated = messages(native_log(content))
    read = messages(stored)
    assert b"TRUNCATED" in truncated
    assert read[: len(native)] == native
    assert read[-1] == content.splitlines()[-1]
    assert len(stored) < logs.LOG_BYTES + logs.LOG_LAST_BYTES + 200


def test_last_lines_are_for_people() -> None:
    content = b"".join(b"%d\n" % number for number in range(1000)) + "é".encode() * 50_000
    log = captured(content + b"\n\xff end \xff")[0]
    *lines, long, last = log.last_lines()
    assert lines == [str(number) for number in range(1000 - len(lines), 1000)]
    assert long == "é" * (logs.LONGEST_LINE_SHOWN // 2) + " [98000 more bytes]"
    assert last == "\ufffd end \ufffd"


def test_last_lines_are_those_too_that_are_stored_already() -> None:
    log = captured(mflog.decorate("task", "far away\n"))[0]
    assert log.text() == b""
    assert log.last_lines() == ["far away"]


def test_pieces_of_a_long_line_are_few() -> None:
    content = io.BytesIO(b"x" * MEBIBYTE)
    assert len(list(pieces(content))) == MEBIBYTE / logs.PIECE_BYTES
