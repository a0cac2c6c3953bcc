"""Pictures for visitors who move about: coarse first, then finer, the newest wins.

A picture is count x count tiles, and each is twice as fine as the one before. All are
painted in one thread; the coarsest that anyone waits for comes next.
"""

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from egojax.data.stream_images import StreamImages
from egojax.methods.field_frames import joined


class Painting(NamedTuple):
    """A picture that is done."""

    images: StreamImages
    count: int  # Tiles along each side.
    seconds: float  # That it took.


@dataclasses.dataclass(frozen=True)
class _Job:
    wish: Any
    finest: int
    number: int  # They count up.
    count: int = 1


class Painter:
    """A thread that paints what visitors wish, until `stop`."""

    def __init__(
        self,
        paint: Callable[[Any, int], Iterator[StreamImages]],
        show: Callable[[int, Painting], None],
    ):
        """Starts the thread.

        Args:
          paint: paint(wish, count) yields the tiles of a picture, row by row.
          show: Given a visitor, and a picture of what they wished.
        """
        self._paint, self._show = paint, show
        self._jobs: dict[int, _Job] = {}  # By visitor.
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="painter", daemon=True)
        self._thread.start()

    def wish(self, visitor: int, wish: Any, finest: int) -> None:
        """Paints this for a visitor from now on, and nothing that they wished before.

        Args:
          visitor: Who.
          wish: What; for `paint`.
          finest: Tiles along each side of the finest picture, a power of 2.
        """
        with self._changed:
            self._jobs[visitor] = _Job(wish, finest, next(self._numbers))
            self._changed.notify()

    def forget(self, visitor: int) -> None:
        """Ends the work for a visitor."""
        with self._changed:
            self._jobs.pop(visitor, None)

    def stop(self) -> None:
        """Ends the thread; returns when the tile in work is done."""
        with self._changed:
            self._stopped = True
            self._jobs.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (found := self._next()) is not None:
            visitor, job = found
            start = time.monotonic()
            tiles: list[StreamImages] = []
            for tile in self._paint(job.wish, job.count):
                tiles.append(tile)
                # Who moves without a pause sees at least the coarse pictures.
                current = self._jobs.get(visitor)
                if current is None or (current is not job and job.count > 1):
                    break
            else:
                images = joined(tiles, job.count)
                seconds = time.monotonic() - start
                self._show(visitor, Painting(images, job.count, seconds))
                self._go_on(visitor, job)

    def _next(self) -> tuple[int, _Job] | None:
        """The coarsest and oldest job; None when the painter is stopped."""
        with self._changed:
            while not self._jobs and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return None
            jobs = self._jobs.items()
            return min(jobs, key=lambda item: (item[1].count, item[1].number))

    def _go_on(self, visitor: int, job: _Job) -> None:
        """To the next finer picture, unless there is a newer wish."""
        with self._changed:
            if self._jobs.get(visitor) is not job:
                return
            if 2 * job.count <= job.finest:
                self._jobs[visitor] = dataclasses.replace(job, count=2 * job.count)
            else:
                del self._jobs[visitor]
