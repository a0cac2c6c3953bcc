"""Who is painted for, how finely, and when work is given up."""

import threading

import pytest

from egojax.apps.field_painter import Painter
from tests.rendered_clips import make_images

PATIENCE = 20.0  # Seconds; no test waits so long unless it fails.


class Easel:
    """Paints tiles named by a wish, one at a time when told to; keeps what is shown."""

    def __init__(self):
        self.begun: list[tuple[str, int]] = []
        self.shown: list[tuple[int, str, int]] = []
        self._may = threading.Semaphore(0)
        self._happened = threading.Condition()
        self._last: tuple[str, int] = ("", 0)
        self.painter = Painter(self.paint, self.show)

    def paint(self, wish, count):
        for _ in range(count * count):
            self.note(self.begun, (wish, count))
            assert self._may.acquire(timeout=PATIENCE)
            yield make_images(0, size_hw=(2, 3))
        self._last = wish, count

    def show(self, visitor, painting):
        wish, count = self._last
        assert painting.count == count and painting.seconds >= 0
        assert painting.images.rgb.shape == (2 * count, 3 * count, 3)
        self.note(self.shown, (visitor, wish, count))

    def note(self, where, what):
        with self._happened:
            where.append(what)
            self._happened.notify_all()

    def allow(self, tiles):
        for _ in range(tiles):
            self._may.release()

    def until(self, condition):
        with self._happened:
            assert self._happened.wait_for(condition, PATIENCE), (
                self.begun,
                self.shown,
            )


@pytest.fixture
def easel():
    made = Easel()
    yield made
    made.allow(1000)
    made.painter.stop()


def test_a_picture_gets_finer_up_to_what_was_asked(easel):
    easel.painter.wish(7, "a", 4)
    easel.allow(1 + 4 + 16)
    easel.until(lambda: len(easel.shown) == 3)
    assert easel.shown == [(7, "a", 1), (7, "a", 2), (7, "a", 4)]
    easel.painter.wish(7, "b", 1)
    easel.allow(1)
    easel.until(lambda: len(easel.shown) == 4)
    assert easel.shown[3] == (7, "b", 1)


def test_the_newest_wish_wins_over_a_fine_picture(easel):
    easel.painter.wish(7, "a", 4)
    easel.allow(1 + 4 + 2)
    easel.until(lambda: easel.begun.count(("a", 4)) == 3)
    easel.painter.wish(7, "b", 1)
    easel.painter.wish(7, "c", 2)
    easel.allow(1 + 1 + 4)
    easel.until(lambda: (7, "c", 2) in easel.shown)
    assert easel.begun.count(("a", 4)) == 3  # Of 16 tiles.
    assert easel.shown[2:] == [(7, "c", 1), (7, "c", 2)]


def test_a_coarse_picture_is_finished_for_who_moves_without_a_pause(easel):
    easel.painter.wish(7, "a", 4)
    easel.until(lambda: easel.begun == [("a", 1)])
    easel.painter.wish(7, "b", 4)
    easel.allow(2)
    easel.until(lambda: len(easel.shown) == 2)
    assert easel.shown == [(7, "a", 1), (7, "b", 1)]


def test_the_work_for_a_visitor_who_leaves_ends(easel):
    easel.painter.wish(7, "a", 4)
    easel.allow(1 + 4 + 1)
    easel.until(lambda: easel.begun.count(("a", 4)) == 2)
    easel.painter.forget(7)
    easel.painter.forget(8)  # Who was never here.
    easel.painter.wish(9, "b", 1)
    easel.allow(2)
    easel.until(lambda: (9, "b", 1) in easel.shown)
    assert easel.begun.count(("a", 4)) == 2
    assert [n for n, *_ in easel.shown] == [7, 7, 9]


def test_a_first_look_comes_before_the_finer_pictures_of_others(easel):
    easel.painter.wish(1, "a", 2)
    easel.until(lambda: easel.begun == [("a", 1)])
    easel.painter.wish(2, "b", 1)
    easel.allow(2 + 4)
    easel.until(lambda: len(easel.shown) == 3)
    assert easel.shown == [(1, "a", 1), (2, "b", 1), (1, "a", 2)]


def test_stopping_in_the_middle_of_a_picture_ends_the_thread():
    easel = Easel()
    easel.painter.wish(7, "a", 4)
    easel.allow(1 + 4 + 1)
    easel.until(lambda: easel.begun.count(("a", 4)) == 2)
    easel.allow(1)
    easel.painter.stop()
    begun = len(easel.begun)
    easel.allow(20)
    assert not any(thread.name == "painter" for thread in threading.enumerate())
    assert len(easel.begun) == begun <= 1 + 4 + 3
    assert easel.shown == [(7, "a", 1), (7, "a", 2)]
