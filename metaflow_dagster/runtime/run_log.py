"""The event log of a run, to which Dagster connects anew for each event."""

import os
import select
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

from dagster import DagsterEventType

from metaflow_dagster.internals.execution import DagsterEventLog
from metaflow_dagster.internals.lookup import lacking_names

SECONDS_BETWEEN_NEWS = 0.5  # that those get who watch a run
SECONDS_UNTIL_ASKED = 5  # since a connection to a server was used last
SECONDS_TO_WAIT = 30  # for others who write; dagster/_core/storage/sqlite.py

SERVERS = (
    "postgresql",
    "mysql",
)  # by SQLAlchemy's names; Dagster's engines of both commit by themselves

OF_RUN_ALONE = frozenset(
    {
        DagsterEventType.ENGINE_EVENT,
        DagsterEventType.HANDLED_OUTPUT,
        DagsterEventType.LOADED_INPUT,
        DagsterEventType.LOGS_CAPTURED,
        DagsterEventType.STEP_INPUT,
        DagsterEventType.STEP_OUTPUT,
        DagsterEventType.STEP_START,
        DagsterEventType.STEP_SUCCESS,
    }
)

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
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DisconnectionError

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
    )

    # Else what is recorded next would fail when the server has been restarted.
    @event.listens_for(keeping, "checkout")
    def check(connection: Any, record: Any, _proxy: Any) -> None:
        if "used" in record.info and not is_good(connection, record.info["used"], own.dialect):
            raise DisconnectionError  # which makes the pool connect anew

    @event.listens_for(keeping, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    setattr(storage, DagsterEventLog.engine.attribute, keeping)
    try:
        yield
    finally:
        setattr(storage, DagsterEventLog.engine.attribute, own)
        keeping.dispose()


def is_good(connection: Any, used: float, dialect: Any) -> bool:
    """Whether a connection to a server is one still, which was used at a time.

    A server that ends or loses a connection says so, and nothing else is there to be read between
    two statements. So it is asked only where that cannot be seen, or after a while, in which some
    device on the way may have forgotten the connection.
    """
    try:
        with suppress(AttributeError):  # of what has no number of a file, as connections to MySQL
            looking = select.poll()
            looking.register(connection.fileno(), select.POLLIN)
            if looking.poll(0):
                return False
            if time.monotonic() - used < SECONDS_UNTIL_ASKED:
                return True
        return bool(dialect.do_ping(connection))
    except dialect.dbapi.Error:
        return False


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
    connection = engine.connect()
    connect, store = DagsterEventLog.connect.attribute, DagsterEventLog.store.attribute
    others, lock = getattr(storage, connect), DagsterEventLog.lock(storage)
    setattr(storage, connect, connect_by(connection, run_id, others, lock))
    setattr(storage, store, store_by(connection, storage, run_id))
    try:
        yield
    finally:
        # Which lets those of the class be seen again.
        delattr(storage, connect)
        delattr(storage, store)
        connection.close()
        engine.dispose()


def connect_by(connection: Any, run_id: str, others: Connect, lock: threading.Lock) -> Connect:
    """A function that gives a connection to the events of a run, and connects to `others`."""

    @contextmanager
    def connected() -> Iterator[Any]:
        with lock, connection.begin():
            yield connection

    return lambda shard: connected() if shard == run_id else others(shard)


def store_by(connection: Any, storage: Any, run_id: str) -> Callable[[Any], None]:
    """What stores an event of a run by its connection, and any other as before.

    The statement is always the same, so that SQLAlchemy need not look at it each time.
    """
    statement = DagsterEventLog.table.get().insert()
    lock, others = DagsterEventLog.lock(storage), storage.store_event

    def store(event: Any) -> None:
        if event.run_id != run_id or not is_of_run_alone(event):
            others(event)
            return
        row = DagsterEventLog.row(storage, event)
        with lock, connection.begin():
            connection.execute(statement, row)

    return store


def is_of_run_alone(event: Any) -> bool:
    """Whether an event is stored with those of its run only, not in the index of all runs too."""
    return not event.is_dagster_event or event.dagster_event_type in OF_RUN_ALONE


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
