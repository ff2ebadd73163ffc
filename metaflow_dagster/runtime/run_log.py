"""The event log of a run, to which Dagster connects anew for each event."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

from metaflow_dagster.internals.execution import DagsterEventLog
from metaflow_dagster.internals.lookup import lacking_names

SECONDS_BETWEEN_NEWS = 0.5  # that those get who watch a run
SECONDS_TO_WAIT = 30  # for others who write; dagster/_core/storage/sqlite.py

SERVERS = (
    "postgresql",
    "mysql",
)  # by SQLAlchemy's names; Dagster's engines of both commit by themselves

Connect = Callable[[str], AbstractContextManager[Any]]


@contextmanager
def kept_open(context: Any) -> Iterator[None]:
    """Keep a connection to the event log of a run, as long as that lasts."""
    storage = context.instance.event_log_storage
    with ExitStack() as stack:
        if path_of := getattr(storage, "path_for_shard", None):
            stack.enter_context(kept_file(storage, context.run_id, path_of(context.run_id)))
        elif can_have_pool(storage):
            stack.enter_context(pooled(storage))
        yield


@contextmanager
def kept_file(storage: Any, run_id: str, path: str) -> Iterator[None]:
    """Keep a file of SQLite open, and one connection to it.

    Dagster makes an engine and a connection for each event. Whenever nobody else has the file open,
    SQLite then moves everything from its write-ahead log, and waits for the disk several times.
    """
    with ExitStack() as stack:
        # A run does without, whatever keeps the file from being opened once more.
        with suppress(sqlite3.Error):
            stack.enter_context(open_file(path))
            stack.enter_context(announced(path))
            if can_have_one_connection(storage):
                stack.enter_context(one_connection(storage, run_id))
        yield


def can_have_pool(storage: Any) -> bool:
    """Whether a storage has an engine that connects to a server anew each time."""
    from sqlalchemy.pool import NullPool

    engine = vars(storage).get(DagsterEventLog.engine.attribute)
    return isinstance(getattr(engine, "pool", None), NullPool) and engine.dialect.name in SERVERS


@contextmanager
def pooled(storage: Any) -> Iterator[None]:
    """Let a storage keep a connection to a server, as long as this lasts.

    A server has no more than some hundred for all runs, so those that are needed at the same time
    are closed as ever. What connects is Dagster's own engine, with whatever it needs to be let in.
    """
    from sqlalchemy import create_engine

    own = DagsterEventLog.engine(storage)

    def connect() -> Any:
        connection = own.raw_connection()
        connection.detach()
        return connection.dbapi_connection

    keeping = create_engine(
        own.url,
        creator=connect,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=-1,  # no limit, as without a pool
        pool_pre_ping=True,  # else what is recorded next fails when the server has been restarted
    )
    setattr(storage, DagsterEventLog.engine.attribute, keeping)
    try:
        yield
    finally:
        setattr(storage, DagsterEventLog.engine.attribute, own)
        keeping.dispose()


def can_have_one_connection(storage: Any) -> bool:
    """Whether a storage is of the kind that is known here; another run in this process has it."""
    if lacking_names(DagsterEventLog) or type(storage) is not DagsterEventLog.storage.get():
        return False
    own = vars(storage)
    return DagsterEventLog.lock.attribute in own and DagsterEventLog.connect.attribute not in own


@contextmanager
def open_file(database: str) -> Iterator[None]:
    """Have a database of SQLite open, so that no other connection is the last one."""
    connection = sqlite3.connect(database, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield
    finally:
        connection.close()


@contextmanager
def one_connection(storage: Any, run_id: str) -> Iterator[None]:
    """Let a storage use a single connection for the events of a run, as long as that lasts.

    What is stored, and when it is on the disk, stays the same: each event is a transaction.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    engine = create_engine(
        DagsterEventLog.address(storage, run_id),
        poolclass=StaticPool,
        connect_args={"timeout": SECONDS_TO_WAIT, "check_same_thread": False},
    )
    with storage.run_connection(run_id):
        pass  # so that it makes the tables, if there are none yet
    connect = DagsterEventLog.connect.attribute
    lock = DagsterEventLog.lock(storage)
    setattr(storage, connect, connect_by(engine, run_id, getattr(storage, connect), lock))
    try:
        yield
    finally:
        delattr(storage, connect)  # which lets that of the class be seen again
        engine.dispose()


def connect_by(engine: Any, run_id: str, others: Connect, lock: threading.Lock) -> Connect:
    """A function that connects to the events of a run by an engine, and to `others` as before."""

    @contextmanager
    def connected() -> Iterator[Any]:
        with lock, engine.connect() as connection, connection.begin():
            yield connection

    return lambda shard: connected() if shard == run_id else others(shard)


@contextmanager
def announced(database: str) -> Iterator[None]:
    """Let those see what is written to a database of SQLite who watch its file for changes.

    Dagster's UI does so to follow a run, but events go to the write-ahead log first.
    """
    over = threading.Event()
    announcer = threading.Thread(target=announce, args=(database, over), daemon=True)
    announcer.start()
    try:
        yield
    finally:
        over.set()
        announcer.join()


def announce(database: str, over: threading.Event) -> None:
    """Touch a database whenever its write-ahead log has changed."""
    announced_last = 0
    while not over.wait(SECONDS_BETWEEN_NEWS):
        with suppress(OSError):
            changed = os.stat(f"{database}-wal").st_mtime_ns
            if changed != announced_last:
                announced_last = changed
                os.utime(database)
