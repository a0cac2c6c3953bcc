"""Ctrl-C and SIGTERM: they stop a run where they are heard, or soon after.

What a signal raises inside a callback of the garbage collector is swallowed there (JAX
has such a callback). So the wish is kept, and stages raise it again as they go.
"""

import signal
import threading
from typing import Any

_asked = threading.Event()


def listen() -> None:
    """From now on both signals stop the run; a SIGINT that is ignored stays so."""
    _asked.clear()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)


def check() -> None:
    """Raises KeyboardInterrupt if the run was asked to stop and still goes on."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _stop(*_: Any) -> None:
    _asked.set()
    raise KeyboardInterrupt
