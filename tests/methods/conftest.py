"""Scenes at the level of observations: who is seen where, and what 2D trackers say.

Twenty-four objects as eight triples of look-alikes, half of them within 0.4 m, at three
stations that a head visits twice; some are carried. The 2D ids, misses, splits, merges,
wrong categories and false segments are those of the procedural world's fault model.
"""

from typing import NamedTuple

import numpy as np
import pytest

from egojax.data.world.faults import Imperfections, Moment, first, step
from egojax.data.world.imperfect import PRESETS

DIM = 32
FPS = 30.0


class Scene(NamedTuple):
    """Columns of observations, a row each, and the true object of each row."""

    frame_idx: np.ndarray
    segment_id: np.ndarray
    category: np.ndarray
    score: np.ndarray
    location: np.ndarray
    feature: np.ndarray
    area: np.ndarray
    truth: np.ndarray  # 1 .. K; 0 = no object.


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class World(NamedTuple):
    place: np.ndarray  # (T, K, 3), metres.
    seen: np.ndarray  # bool (T, K)
    category: np.ndarray  # (K,)
    station: np.ndarray  # (T,) that the head looks at.


def make_world(rng: np.random.Generator, frames: int, triples: int) -> World:
    count = 3 * triples
    centers = np.array([[0.0, 0.0, 0.9], [2.5, 0.0, 0.9], [1.2, 2.0, 0.8]])
    category = np.repeat(np.arange(triples), 3)
    home = np.where(
        np.arange(count) < count // 2, category % 3, rng.integers(0, 3, count)
    )
    spot = rng.uniform((-0.6, -0.3, 0.0), (0.6, 0.3, 0.1), (count, 3))
    middle = rng.uniform((-0.4, -0.15, 0.0), (0.4, 0.15, 0.1), (triples, 3))
    close = rng.uniform(-0.2, 0.2, (count, 3)) * (1, 1, 0.1)
    near = middle[category] + close
    spot = np.where((np.arange(count) < count // 2)[:, None], near, spot)
    rounds = max(2, 2 * round(frames / 600))
    order = np.tile(rng.permutation(3), rounds)
    cuts = np.cumsum(rng.uniform(0.7, 1.3, len(order)))
    cuts = np.round(cuts / cuts[-1] * frames).astype(int)
    station = np.repeat(order, np.diff(cuts, prepend=0))
    at = home.copy()
    place, seen = np.zeros((frames, count, 3)), np.zeros((frames, count), bool)
    now = centers[at] + spot
    start = 0
    for stop in cuts:
        here = int(station[start])
        place[start:stop] = now
        seen[start:stop] = at == here
        for k in np.flatnonzero(at == here):
            if rng.random() < 0.3 and stop - start > 60:
                a = rng.integers(start, stop - 50)
                seen[a : a + rng.integers(5, 45), k] = False
        movable = np.flatnonzero(at == here)
        for k in rng.permutation(movable)[:2]:
            if stop - start < 60:
                break
            a = int(rng.integers(start + 5, stop - 40))
            goal = centers[here] + rng.uniform((-0.6, -0.3, 0.0), (0.6, 0.3, 0.1))
            share = np.clip((np.arange(a, stop) - a) / 20, 0, 1)[:, None]
            lift = np.array([0, 0, 0.15]) * np.sin(np.pi * share)
            place[a:stop, k] = now[k] * (1 - share) + goal * share + lift
            now[k] = goal
        if rng.random() < 0.5 and len(movable) and stop < frames:
            k = int(rng.choice(movable))  # Carried along to the next station.
            seen[stop - 5 : stop, k] = True
            at[k] = station[stop]
            now[k] = centers[at[k]] + rng.uniform((-0.6, -0.3, 0.0), (0.6, 0.3, 0.1))
        start = stop
    return World(place, seen, category, station)


def boxes_of(world: World, t: int) -> np.ndarray:
    """Boxes of 0.09 m in an image of 400 pixels a metre; zeros out of view."""
    flat = world.place[t, :, :2]
    half = 18.0
    low = 400 * flat - half
    box = np.concatenate([low, low + 2 * half], axis=1)
    return np.where(world.seen[t][:, None], box, 0.0)


def observe(
    world: World, faults: Imperfections, seed: int, sigma: float = 0.03
) -> Scene:
    frames, count = world.seen.shape
    rng = np.random.default_rng([seed, 99])
    triples = count // 3
    looks = unit(rng.normal(size=(triples, DIM)))[world.category]
    codes = looks + 0.1 * unit(rng.normal(size=(count, DIM)))
    codes = np.concatenate([codes, unit(rng.normal(size=(1, DIM)))])
    drift = rng.normal(size=(frames // 30 + 2, 3)) * 0.02
    bias = rng.normal(size=(frames // 60 + 2, count + 1, 3)) * 0.02
    state, rows = first(count), []
    for t in range(frames):
        now = Moment(t, seed, FPS, faults)
        state = step(state, now, boxes_of(world, t), world.category, triples)
        for k in np.flatnonzero(world.seen[t] & (state.missed_until <= t)):
            if state.merged_until[k] > t:
                continue
            inside = [
                k,
                *np.flatnonzero(
                    (state.merged_until > t) & (state.merged_with == k) & world.seen[t]
                ),
            ]
            at = world.place[t, inside].mean(0)
            area = 1000 * len(inside)
            segment, category = state.segment[k], state.category[k]
            if state.split_until[k] > t:
                side = 0.025 * np.array(
                    [np.cos(state.split_angle[k]), np.sin(state.split_angle[k]), 0]
                )
                half = state.split_segment[k]
                rows.append((t, segment, category, at - side, k, area // 2))
                rows.append((t, half, category, at + side, k, area // 2))
            else:
                rows.append((t, segment, category, at, k, area))
        for slot in np.flatnonzero(state.false_until > t):
            x, y = state.false_ellipse[slot, :2]
            at = world.place[t, world.seen[t]].mean(0) if world.seen[t].any() else 0
            at = at + np.array([x - 0.5, y - 0.5, 0.0])
            rows.append(
                (t, state.false_segment[slot], state.false_category[slot], at, -1, 900)
            )
    frame, segment, category, at, owner, area = map(np.array, zip(*rows, strict=True))
    num = len(frame)
    share = (frame / 30.0) % 1.0
    low = (frame // 30).astype(int)
    location = at + drift[low] * (1 - share)[:, None] + drift[low + 1] * share[:, None]
    location = location + bias[frame // 60, owner] + sigma * rng.normal(size=(num, 3))
    wild = rng.random(num) < 0.02
    location[wild] += 0.3 * rng.normal(size=(wild.sum(), 3))
    location[rng.random(num) < 0.01] = np.nan
    noise = faults.feature_noise / np.sqrt(DIM)
    return Scene(
        frame_idx=frame.astype(np.int32),
        segment_id=segment.astype(np.int64) * 7 + 300,
        category=category.astype(np.int32),
        score=np.full(num, 0.8, np.float32),
        location=location.astype(np.float32),
        feature=(codes[owner] + noise * rng.normal(size=(num, DIM))).astype(np.float32),
        area=(area * rng.uniform(0.95, 1.05, num)).astype(np.int32),
        truth=(owner + 1).astype(np.int64),
    )


def make_scene(
    seed: int = 0, faults: str = "all", frames: int = 600, triples: int = 8
) -> Scene:
    """The observations of one scene."""
    world = make_world(np.random.default_rng(seed), frames, triples)
    return observe(world, PRESETS[faults], seed)


@pytest.fixture(scope="session")
def scene():
    """`make_scene(seed, faults, frames, triples) -> Scene`."""
    return make_scene
