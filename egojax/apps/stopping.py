"""Ctrl-C and SIGTERM: they stop a run where they are heard, or soon after.

What a signal raises may be lost where it is raised: a callback of the garbage collector
swallows it (JAX has one), and compiled code makes another error of it (NumPy, comparing
structured arrays: a TypeError). So the wish is kept: stages raise it again as they go,
and an error that comes after it counts as it.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_asked = threading.Event()


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Both signals stop the run, from here on; a SIGINT that is ignored stays so.

    Raises:
      KeyboardInterrupt: a signal came, whatever else was raised behind it.
    """
    _asked.clear()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)
    try:
        yield
    except Exception:
        check()
        raise


def check() -> None:
    """Raises KeyboardInterrupt if the run was asked to stop and still goes on."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _stop(*_: Any) -> None:
    _asked.set()
    raise KeyboardInterrupt
