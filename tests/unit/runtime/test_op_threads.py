from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from dagster import DagsterExecutionInterruptedError

from metaflow_dagster.runtime.op_threads import (
    Interruption,
    OpThread,
    current_op_thread,
    in_op_thread,
)


def test_event_that_comes_in_time() -> None:
    event = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Interruption().wait, event, 60)
        event.set()
        assert waiting.result(60) is True


def test_event_that_does_not_come() -> None:
    assert Interruption().wait(threading.Event(), 0.01) is False


def test_whoever_waits_is_interrupted() -> None:
    interruption = Interruption()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(interruption.wait, threading.Event(), 60) for _ in range(2)]
        while len(interruption.waiting) < 2:
            time.sleep(0.01)
        interruption.happen()
        for each in waiting:
            assert isinstance(each.exception(60), DagsterExecutionInterruptedError)
    assert not interruption.waiting


def test_whoever_would_wait_after_the_interruption_does_not() -> None:
    interruption = Interruption()
    interruption.happen()
    event = threading.Event()
    event.set()
    with pytest.raises(DagsterExecutionInterruptedError):
        interruption.wait(event, None)


def test_each_thread_has_its_own() -> None:
    outside = current_op_thread()
    assert (outside.stdout, outside.stderr) == ([sys.stdout], [sys.stderr])
    mine = OpThread(Interruption(), [], [])
    with in_op_thread(mine), ThreadPoolExecutor(1) as pool:
        assert current_op_thread() is mine
        assert pool.submit(current_op_thread).result(60).stdout == [sys.stdout]
    assert current_op_thread() is not mine
