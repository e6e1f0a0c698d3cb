"""Values computed in the background: fresh, stale, late, failed; never two attempts at once."""

import subprocess
import sys
import threading

import pytest

from aggregator.background import BackgroundValue, NotReady, run_in_thread
from tests.servers import eventually

LONG_S = 60.0


class Computation:
    """Counts its runs; each waits until `let` is set, then returns its number or raises `error`."""

    def __init__(self):
        self.runs, self.error = 0, None
        self.let = threading.Event()
        self.let.set()

    def __call__(self):
        self.runs += 1
        number = self.runs
        self.let.wait(LONG_S)
        if self.error:
            raise self.error
        return number


@pytest.fixture
def compute():
    computation = Computation()
    yield computation
    computation.let.set()


def test_a_fresh_value_is_not_computed_again(compute):
    value = BackgroundValue(compute, fresh_s=LONG_S, timeout_s=LONG_S)
    assert [value.get() for _ in range(3)] == [1, 1, 1]


def test_a_value_that_is_not_fresh_is_computed_again(compute):
    value = BackgroundValue(compute, fresh_s=0.0, timeout_s=LONG_S)
    assert [value.get() for _ in range(3)] == [1, 2, 3]


def test_an_attempt_that_hangs_is_reported_and_not_started_again(compute):
    value = BackgroundValue(compute, fresh_s=0.0, timeout_s=0.1)
    compute.let.clear()
    for _ in range(20):
        with pytest.raises(NotReady):
            value.get()
    assert value.latest() is None
    assert compute.runs == 1
    assert value.running_for_s() > 0.1
    compute.let.set()
    eventually(lambda: value.running_for_s() is None)
    assert value.get(LONG_S) == 2


def test_a_reader_that_finds_an_attempt_under_way_gets_the_value_of_before(compute):
    value = BackgroundValue(compute, fresh_s=0.0, stale_s=LONG_S, timeout_s=LONG_S)
    assert value.get() == 1
    compute.let.clear()
    started = run_in_thread(value.get)
    eventually(lambda: compute.runs == 2)
    assert value.get() == 1
    compute.let.set()
    assert started.result(LONG_S) == 2


def test_readers_without_a_value_wait_for_one_attempt_together(compute):
    value = BackgroundValue(compute, fresh_s=LONG_S, timeout_s=LONG_S)
    compute.let.clear()
    readers = [run_in_thread(value.get) for _ in range(10)]
    compute.let.set()
    assert {reader.result(LONG_S) for reader in readers} == {1}


def test_a_stale_value_replaces_an_attempt_that_fails_or_is_late(compute):
    value = BackgroundValue(compute, fresh_s=0.0, stale_s=LONG_S, timeout_s=LONG_S)
    value.get()
    compute.error = ValueError()
    assert value.get() == 1
    compute.let.clear()
    assert value.get(0.1) == 1


def test_what_compute_raises_is_raised_and_not_kept(compute):
    value = BackgroundValue(compute, fresh_s=LONG_S, timeout_s=LONG_S)
    compute.error = ValueError("no value")
    for _ in range(2):
        with pytest.raises(ValueError, match="no value"):
            value.get()
    compute.error = None
    assert value.get() == 3


def test_an_attempt_that_hangs_does_not_keep_the_process_from_ending():
    program = (
        "import threading, django; django.setup()\n"
        "from aggregator.background import BackgroundValue\n"
        "value = BackgroundValue(threading.Event().wait, fresh_s=0.0, timeout_s=0.1)\n"
        "print(value.latest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG_S)
    assert (done.returncode, done.stdout) == (0, "None\n")
