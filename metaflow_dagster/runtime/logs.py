"""What a process writes, in Metaflow's log format."""

from collections import deque

LOG_BYTES = 8_000_000  # of the beginning of a log
LOG_LAST_LINES = 2_000
LONGEST_LINE = 100_000  # bytes that are taken as one line
LONGEST_LAST_LINE = 2_000


class StreamLog:
    """The beginning and the end of what a process writes to one of its streams."""

    def __init__(self) -> None:
        self.first: list[bytes] = []
        self.room = LOG_BYTES
        self.last: deque[bytes] = deque(maxlen=LOG_LAST_LINES)
        self.left_out = 0

    def add(self, line: bytes) -> None:
        """Take in a structured line."""
        if self.room > 0:
            self.first.append(line)
            self.room -= len(line)
            return
        self.left_out += len(self.last) == LOG_LAST_LINES
        is_long = len(line) > LONGEST_LAST_LINE
        self.last.append(line[:LONGEST_LAST_LINE] + b"\n" if is_long else line)

    def text(self) -> bytes:
        """The log as Metaflow stores it, with a note where lines are left out."""
        note = f"[{self.left_out} lines are left out here; Dagster has the whole output]\n"
        left_out = [structured(note.encode())] if self.left_out else []
        return b"".join([*self.first, *left_out, *self.last])

    def last_lines(self, count: int) -> list[str]:
        """The last lines as they were written."""
        lines = [*self.first[-count:], *self.last][-count:]
        written = (plain(line).rstrip(b"\n")[:LONGEST_LAST_LINE] for line in lines)
        return [line.decode(errors="replace") for line in written]


def structured(line: bytes) -> bytes:
    """A line with the time and what else Metaflow's log format puts before it."""
    from metaflow.mflog import RUNTIME_LOG_SOURCE, mflog

    return bytes(mflog.decorate(RUNTIME_LOG_SOURCE, line))


def plain(line: bytes) -> bytes:
    """A line as it was written, where it came in Metaflow's log format."""
    from metaflow.mflog import mflog

    parsed = mflog.parse(line) if mflog.is_structured(line) else None
    ending = b"\n" if line.endswith(b"\n") else b""
    return bytes(parsed.msg) + ending if parsed else line


def kept(line: bytes) -> bytes:
    """What is stored of a line: nothing if it has been stored already, far away where it arose.

    Steps that run elsewhere, as `@kubernetes` has it, pass their logs on in Metaflow's format
    (metaflow/runtime.py: Worker.emit_log).
    """
    from metaflow.mflog import mflog

    if not mflog.is_structured(line):
        return structured(line)
    parsed = mflog.parse(line)
    return bytes(mflog.unset_should_persist(line)) if parsed and parsed.should_persist else b""
