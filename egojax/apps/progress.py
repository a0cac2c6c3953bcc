"""How far a run has come: a line that moves on a terminal, one a minute elsewhere."""

import sys
import time
from typing import TextIO

from egojax.apps import stopping


class ProgressLine:
    """Rate and time left of one stage: `line(done, total)`, then `line.close()`."""

    def __init__(self, title: str, stream: TextIO | None = None):
        self._title = title
        self._stream = sys.stderr if stream is None else stream
        self._moves = self._stream.isatty()
        self._every = 0.2 if self._moves else 60.0
        self._start = self._last = time.monotonic()
        self._first: int | None = None  # What an earlier run had done already.

    def __call__(self, done: int, total: int) -> None:
        stopping.check()
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._last < self._every:
            return
        self._last = now
        rate = (done - self._first) / (now - self._start)
        left = f", {_clock((total - done) / rate)} left" if rate > 0 else ""
        text = f"{self._title}: {done}/{total}, {rate:.1f}/s{left}"
        self._stream.write(f"\r{text}\x1b[K" if self._moves else text + "\n")
        self._stream.flush()

    def close(self) -> float:
        """Ends the line; returns the seconds that the stage took."""
        stopping.check()
        if self._moves:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        return time.monotonic() - self._start


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    )
