"""The output of a process, in Metaflow's log format."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from metaflow_dagster.runtime.failures import ERROR_LINES

# Of the beginning of a log: what Metaflow's own runtime keeps unless it is given --max-log-size.
LOG_BYTES = 10 * 1024 * 1024
LOG_LAST_BYTES = 2 * 1024 * 1024  # of the end of a longer one
PIECE_BYTES = 64 * 1024  # a longer line is taken in several pieces, so that it needs no memory
LONGEST_LINE_SHOWN = 2_000  # bytes of a line of an error


@dataclass(frozen=True)
class Piece:
    """A line or, of a long one, a part, which begins and ends between characters.

    `message` is what the process has written; `stored` is what the datastore gets of it, in
    Metaflow's format, and `header` what goes before a part if the line's beginning is not there.
    """

    message: bytes
    stored: bytes
    header: bytes = b""

    @property
    def begins_line(self) -> bool:
        """Whether it is a line, or the first part of one."""
        return not self.header


class StreamLog:
    """The beginning and the end of what a process writes to one of its streams.

    `first_bytes` and `last_bytes` are the most that is kept of each. A thread may add to it while
    another one reads.
    """

    def __init__(self, first_bytes: int = LOG_BYTES, last_bytes: int = LOG_LAST_BYTES) -> None:
        self.lock = threading.Lock()
        self.first: list[bytes] = []
        self.room = first_bytes
        self.last: deque[Piece] = deque()
        self.last_room = last_bytes
        self.gap = b""  # the header of the line that says what is left out
        self.bytes_left_out = 0
        self.lines_left_out = 0
        self.shown: deque[tuple[bytes, int]] = deque(maxlen=ERROR_LINES)  # with full lengths

    def add(self, piece: Piece) -> None:
        """Take in what comes next."""
        with self.lock:
            self.show(piece)
            if piece.stored:
                self.store(piece)

    def store(self, piece: Piece) -> None:
        """Take it into the beginning of the log, or once that is full into the end."""
        if not self.gap and len(piece.stored) < self.room:
            self.first.append(piece.stored)
            self.room -= len(piece.stored)
            return
        self.gap = self.gap or structured(b"")  # now, since Metaflow sorts by the time in it
        self.last.append(piece)
        self.last_room -= len(piece.stored)
        self.leave_out()

    def leave_out(self) -> None:
        """Keep of the end what memory should hold."""
        while self.last_room < 0:
            piece = self.last.popleft()
            self.last_room += len(piece.stored)
            self.lines_left_out += piece.begins_line or not self.bytes_left_out
            self.bytes_left_out += len(piece.message)

    def text(self) -> bytes:
        """The log as Metaflow stores it, with a line that says what is left out, if anything is."""
        with self.lock:
            last = [piece.stored for piece in self.last]
            if not self.bytes_left_out:
                return b"".join([*self.first, *last])
            ending = b"\n" if self.first and not self.first[-1].endswith(b"\n") else b""
            note = (
                f"[{self.bytes_left_out} bytes in {self.lines_left_out} lines are left out here; "
                "Dagster has the whole output]\n"
            )
            header = self.last[0].header if self.last else b""
            return b"".join([*self.first, ending, self.gap, note.encode(), header, *last])

    def show(self, piece: Piece) -> None:
        """Keep the last lines, of long ones the beginning, for who looks for an error."""
        line = piece.message.removesuffix(b"\n")
        beginning, length = (b"", 0) if piece.begins_line else self.shown.pop()
        if length == len(beginning):
            beginning = shown_part(beginning + line)
        self.shown.append((beginning, length + len(line)))

    def last_lines(self) -> list[str]:
        """The last lines as they were written, but for the ends of long ones."""
        with self.lock:
            lines = [*self.shown]
        return [shown_line(*line) for line in lines]


def shown_part(line: bytes) -> bytes:
    """The beginning of a line, between characters, if it is too long to be shown."""
    if len(line) <= LONGEST_LINE_SHOWN:
        return line
    return whole_characters(line[:LONGEST_LINE_SHOWN])


def shown_line(beginning: bytes, length: int) -> str:
    """The beginning of a line, given the bytes of the whole, which says how much is left out."""
    left_out = length - len(beginning)
    note = f" [{left_out} more bytes]" if left_out else ""
    return f"{beginning.decode(errors='replace')}{note}"


def pieces(pipe: IO[bytes], most: int = PIECE_BYTES) -> Iterator[Piece]:
    """The lines that come through a pipe, in parts those that are longer than `most` bytes."""
    taken, begins_line, is_kept = pipe.readline(most), True, True
    while taken:
        message = whole_characters(taken)
        if begins_line:
            piece = first_piece(message)
            is_kept = bool(piece.stored)
        else:
            piece = Piece(message, message if is_kept else b"", structured(b""))
        yield piece
        begins_line = message.endswith(b"\n")
        taken = taken[len(message) :] + pipe.readline(most)


def first_piece(line: bytes) -> Piece:
    """A line, or the first part of one.

    Of one in Metaflow's format the datastore gets nothing, unless it says so: it has been stored
    far away, where it arose. Steps that run elsewhere, as `@kubernetes` has it, pass their logs on
    like that (metaflow/runtime.py: Worker.emit_log).
    """
    from metaflow.mflog import mflog

    if not mflog.is_structured(line):
        return Piece(line, structured(line))
    parsed = mflog.parse(line)
    if parsed is None:
        return Piece(line, b"")
    message = bytes(parsed.msg) + line[len(line.removesuffix(b"\n")) :]
    return Piece(message, bytes(mflog.unset_should_persist(line)) if parsed.should_persist else b"")


def whole_characters(text: bytes) -> bytes:
    """A text without the character at its end of which only a part is there, in UTF-8.

    All of it if there is nothing else.
    """
    for size in range(1, min(4, len(text))):
        if text[-size] & 0xC0 != 0x80:  # where a character begins
            wanted = 4 if text[-size] >= 0xF0 else 3 if text[-size] >= 0xE0 else 2
            return text[:-size] if text[-size] >= 0xC0 and size < wanted else text
    return text


def structured(line: bytes) -> bytes:
    """A line with the time and what else Metaflow's log format puts before it."""
    from metaflow.mflog import RUNTIME_LOG_SOURCE, mflog

    return bytes(mflog.decorate(RUNTIME_LOG_SOURCE, line))
