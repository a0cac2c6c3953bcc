"""A signal stops a run even where what it raises is swallowed, or turned."""

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
    with stopping.listening():
        line = ProgressLine("fit", io.StringIO())
        line(1, 10)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), kind)
        with pytest.raises(KeyboardInterrupt):
            line(2, 10)
        with pytest.raises(KeyboardInterrupt):
            line.close()


def test_an_error_that_a_signal_became_is_the_signal():
    """NumPy makes a TypeError of what is raised while it compares rows."""
    with pytest.raises(KeyboardInterrupt), stopping.listening():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise TypeError("Cannot compare structured arrays") from None


def test_an_error_that_no_signal_came_before_stays_itself():
    with pytest.raises(TypeError, match="of its own"), stopping.listening():
        raise TypeError("of its own")


def test_the_next_run_is_not_stopped_by_the_last_ones_signal():
    with pytest.raises(KeyboardInterrupt), stopping.listening():
        os.kill(os.getpid(), signal.SIGTERM)
    with stopping.listening():
        ProgressLine("fit", io.StringIO())(1, 10)


def test_an_ignored_ctrl_c_stays_ignored():
    """As shells start what runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stopping.listening():
        os.kill(os.getpid(), signal.SIGINT)
        stopping.check()
