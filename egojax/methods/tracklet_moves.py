"""Ways to change a partition into chains, for all candidate pairs at once (host).

Every move takes one or two chains apart and puts up to three together again.
"""

from typing import NamedTuple

import numpy as np

from egojax.methods.tracklet_chains import Layout

# b and its tail follow a; a's old tail follows what was before b, ...
EXCHANGE = 0
FREE_TAIL = 1  # ... or becomes a chain of its own.
INSERT_AFTER = 2  # b alone comes between a and the next.
INSERT_BEFORE = 3  # a alone comes between b and the one before.
SKIP = 4  # b follows a in the same chain; what was between is free.
CUT = 5  # A chain ends before b (= a).
EXTRACT = 6  # b (= a) becomes a chain of its own.


class Moves(NamedTuple):
    """Moves by tracklet: they stay the same while chains change."""

    kind: np.ndarray  # (N,)
    a: np.ndarray  # (N,), tracklets.
    b: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Moves":
        return Moves(self.kind[rows], self.a[rows], self.b[rows])


class Change(NamedTuple):
    """What moves do to the chains of a layout."""

    parts: np.ndarray  # int (N, 3, 3, 2): new chains of three stretches of positions.
    old: np.ndarray  # int (N, 2): chains that they replace; the same twice if one.
    follower: np.ndarray  # int (N, 3): positions that follow another then; -1 = none.
    valid: np.ndarray  # bool (N,): the move makes sense for these chains.


def all_moves(i: np.ndarray, j: np.ndarray, count: int) -> Moves:
    """All moves for candidate pairs (i, j), and those for each of `count` tracklets."""
    every = np.arange(count)
    pairs = np.arange(EXCHANGE, SKIP + 1)
    kind = np.concatenate([np.repeat(pairs, len(i)), np.repeat([CUT, EXTRACT], count)])
    a = np.concatenate([np.tile(i, len(pairs)), every, every])
    b = np.concatenate([np.tile(j, len(pairs)), every, every])
    return Moves(kind, a, b)


def change_of(layout: Layout, moves: Moves) -> Change:
    """The moves in terms of a layout."""
    a, b = layout.place[moves.a], layout.place[moves.b]
    p, q = layout.chain[a], layout.chain[b]
    change = Change(
        np.zeros((len(a), 3, 3, 2), int),
        np.stack([p, q], axis=1),
        np.full((len(a), 3), -1),
        np.where(moves.kind < SKIP, p != q, p == q),
    )
    for kind, make in _MAKERS.items():
        rows = np.flatnonzero((moves.kind == kind) & change.valid)
        spans = _Spans(
            a[rows],
            b[rows],
            layout.low[p[rows]],
            layout.high[p[rows]],
            layout.low[q[rows]],
            layout.high[q[rows]],
        )
        chains, followers, sensible = make(spans)
        for c, chain in enumerate(chains):
            for s, (low, high) in enumerate(chain):
                change.parts[rows, c, s] = np.stack([low, high], axis=1)
        for slot, position in enumerate(followers):
            change.follower[rows, slot] = position
        change.valid[rows] = sensible
    return change


class _Spans(NamedTuple):
    """Positions of a and b, and of the chains [p0, p1) and [q0, q1) that hold them."""

    a: np.ndarray
    b: np.ndarray
    p0: np.ndarray
    p1: np.ndarray
    q0: np.ndarray
    q1: np.ndarray

    @property
    def next_a(self) -> np.ndarray:
        """The position behind a in its chain, or -1."""
        return np.where(self.a + 1 < self.p1, self.a + 1, -1)

    @property
    def next_b(self) -> np.ndarray:
        return np.where(self.b + 1 < self.q1, self.b + 1, -1)


_Made = tuple[list[list[tuple]], tuple, np.ndarray | bool]


def _exchange(at: _Spans) -> _Made:
    head, rest, tail = (at.p0, at.a + 1), (at.q0, at.b), (at.a + 1, at.p1)
    chains = [[head, (at.b, at.q1)], [rest, tail]]
    both = (at.b > at.q0) & (at.a + 1 < at.p1)  # Else it is the same as FREE_TAIL.
    return chains, (at.b, at.next_a), both


def _free_tail(at: _Spans) -> _Made:
    chains = [[(at.p0, at.a + 1), (at.b, at.q1)], [(at.q0, at.b)], [(at.a + 1, at.p1)]]
    return chains, (at.b, at.next_a), True


def _insert_after(at: _Spans) -> _Made:
    first = [(at.p0, at.a + 1), (at.b, at.b + 1), (at.a + 1, at.p1)]
    chains = [first, [(at.q0, at.b), (at.b + 1, at.q1)]]
    return chains, (at.b, at.next_a, at.next_b), True


def _insert_before(at: _Spans) -> _Made:
    first = [(at.q0, at.b), (at.a, at.a + 1), (at.b, at.q1)]
    chains = [first, [(at.p0, at.a), (at.a + 1, at.p1)]]
    return chains, (at.a, at.b, at.next_a), True


def _skip(at: _Spans) -> _Made:
    chains = [[(at.p0, at.a + 1), (at.b, at.p1)], [(at.a + 1, at.b)]]
    return chains, (at.b, at.a + 1), at.b > at.a + 1


def _cut(at: _Spans) -> _Made:
    return [[(at.p0, at.b)], [(at.b, at.p1)]], (at.b,), at.b > at.p0


def _extract(at: _Spans) -> _Made:
    chains = [[(at.p0, at.b), (at.b + 1, at.p1)], [(at.b, at.b + 1)]]
    moved = np.where(at.b > at.p0, at.b, -1)
    return chains, (moved, at.next_b), at.p1 > at.p0 + 1


_MAKERS = {
    EXCHANGE: _exchange,
    FREE_TAIL: _free_tail,
    INSERT_AFTER: _insert_after,
    INSERT_BEFORE: _insert_before,
    SKIP: _skip,
    CUT: _cut,
    EXTRACT: _extract,
}
