"""Ctrl-C waits for what is being written, the second one does not."""
import signal
import threading

import pytest

from c2m_blocks.interrupt import DeferredInterrupt


def test_the_first_one_waits():
    done = []
    with pytest.raises(KeyboardInterrupt), DeferredInterrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        done.append("finished")
    assert done == ["finished"] and interrupt.came


def test_the_second_one_does_not():
    done = []
    with pytest.raises(KeyboardInterrupt), DeferredInterrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert not done


def test_an_item_that_is_computed_is_thrown_away():
    def items():
        yield 1
        signal.raise_signal(signal.SIGINT)
        yield 2

    before, done = signal.getsignal(signal.SIGINT), []
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), DeferredInterrupt() as interrupt:
            done += interrupt.until(items())
            done.append("finished")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == [1, "finished"]


def test_work_that_was_finished_all_the_same():
    with DeferredInterrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        interrupt.came = False


def test_other_threads_catch_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with DeferredInterrupt() as interrupt:
            seen.append((interrupt.came, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
