"""A signal stops a run even where what it raises is swallowed."""

import io
import os
import signal

import pytest

from egojax.apps import stopping
from egojax.apps.progress import ProgressLine


@pytest.fixture(autouse=True)
def handlers():
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)
    stopping._asked.clear()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_swallowed_is_raised_by_the_next_progress(kind):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stopping.listen()
    line = ProgressLine("fit", io.StringIO())
    line(1, 10)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), kind)
    with pytest.raises(KeyboardInterrupt):
        line(2, 10)


def test_the_next_run_is_not_stopped_by_the_last_ones_signal():
    stopping.listen()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    stopping.listen()
    ProgressLine("fit", io.StringIO())(1, 10)


def test_an_ignored_ctrl_c_stays_ignored():
    """As shells start what runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping.listen()
    os.kill(os.getpid(), signal.SIGINT)
    stopping.check()
