"""The online tracker: one frame of a long table, a whole video, many settings at once.

Every track has a history of 500 observations when the clock starts. The published form
compares every pair on its own, and takes the modes and the mean feature from the
history each time; the simple form keeps counters and tables and compares in NumPy. Both
leave the assignment to scipy. They run in a process of their own with one BLAS thread:
products this small are slower with more, many times so on a busy machine.

Times are of the processor, all threads together, the least of several turns: what a
busy machine does not change much. On an idle one they are the wall time or above it.
"""

import collections
import dataclasses
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_rows import line
from scipy.optimize import linear_sum_assignment

from egojax.methods import association, tracker
from egojax.methods.association import Columns
from egojax.methods.tracker import Observations, TrackerConfig, TrackerState
from egojax.ops.association import CostWeights

DIM = 768
HISTORY = 500
PAST = 100  # Observations of which the mean and the mode are compared.
NUM_CATEGORIES = 10
PUBLISHED = CostWeights(alpha=14.0)  # A new 2D id in the same place still matches.
Track = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Histories of tracks, and frames (time first) in which some of them are seen."""

    histories: list[Track]
    location: np.ndarray
    feature: np.ndarray
    label: np.ndarray
    category: np.ndarray


def make_scene(
    num_tracks: int, num_obs: int, num_frames: int, renamed: float = 0.1
) -> Scene:
    """Objects that stay where they are; a share comes back under a new 2D id."""
    rng = np.random.default_rng(0)
    cells = np.stack(np.unravel_index(rng.permutation(512)[:num_tracks], (8, 8, 8)), 1)
    at = cells + rng.uniform(-0.2, 0.2, cells.shape)
    looks = rng.normal(size=(num_tracks, DIM)) / np.sqrt(DIM)
    kind = rng.integers(0, NUM_CATEGORIES, num_tracks)
    ids = np.arange(num_tracks)
    noise = rng.normal(scale=0.3 / np.sqrt(DIM), size=(HISTORY, DIM))
    histories = [
        {
            "at": at[k],
            "features": list(looks[k] + noise),
            "labels": [k] * HISTORY,
            "categories": [int(kind[k])] * HISTORY,
            "category": int(kind[k]),
        }
        for k in range(num_tracks)
    ]
    seen = np.stack([rng.permutation(num_tracks)[:num_obs] for _ in range(num_frames)])
    labels = np.empty_like(seen)
    for t, who in enumerate(seen):
        fresh = who[rng.random(num_obs) < renamed]
        ids[fresh] = ids.max() + 1 + np.arange(len(fresh))
        labels[t] = ids[who]
    jitter = rng.normal(size=(num_frames, num_obs, DIM)) * 0.3 / np.sqrt(DIM)
    return Scene(
        histories=histories,
        location=at[seen] + rng.normal(scale=0.03, size=(*seen.shape, 3)),
        feature=looks[seen] + jitter,
        label=labels,
        category=kind[seen],
    )


# --------------------------------------------------------------- the published form


def published(scene: Scene, num_frames: int) -> np.ndarray:
    """A double loop over pairs; modes and means from the histories, every time."""
    tracks = [
        track | {key: list(track[key]) for key in ("features", "labels", "categories")}
        for track in scene.histories
    ]
    out = np.empty((num_frames, scene.label.shape[1]), int)
    for t in range(num_frames):
        cost = np.array(
            [
                [published_pair(track, scene, (t, n)) for n in range(out.shape[1])]
                for track in tracks
            ]
        )
        out[t] = assign(cost)
        for n, found in enumerate(out[t]):
            if found < 0:
                out[t, n] = len(tracks)
                tracks.append({"features": [], "labels": [], "categories": []})
            track = tracks[out[t, n]]
            track["at"] = scene.location[t, n]
            track["features"].append(scene.feature[t, n])
            track["labels"].append(int(scene.label[t, n]))
            track["categories"].append(int(scene.category[t, n]))
    return out


def published_pair(track: Track, scene: Scene, at: tuple[int, int]) -> float:
    """Cost of one pair."""
    gap = ((track["at"] - scene.location[at]) ** 2).sum()
    mean = np.mean(track["features"][-PAST:], axis=0)
    looks = ((PUBLISHED.track_shrink * mean - scene.feature[at]) ** 2).sum()
    return (
        np.log(PUBLISHED.beta_l)
        + gap
        + np.log(1 + PUBLISHED.beta_v * looks)
        + PUBLISHED.beta_c * (mode(track["categories"]) != scene.category[at])
        + PUBLISHED.beta_s * (mode(track["labels"][-PAST:]) != scene.label[at])
    )


def mode(values: list[int]) -> int:
    kinds, counts = np.unique(values, return_counts=True)
    return int(kinds[counts.argmax()])


def assign(cost: np.ndarray) -> np.ndarray:
    """Row of each column, -1 = none."""
    rows, cols = linear_sum_assignment(np.minimum(cost, PUBLISHED.alpha))
    found = np.full(cost.shape[1], -1)
    found[cols] = np.where(cost[rows, cols] <= PUBLISHED.alpha, rows, -1)
    return found


# ------------------------------------------------------------------ the simple form


class Simple:
    """Tables in float32, running means, counters."""

    def __init__(self, scene: Scene, room: int):
        tracks, count = scene.histories, len(scene.histories)
        self.count = count
        self.square = np.zeros(room, np.float32)
        self.at = np.zeros((room, 3), np.float32)
        self.feature = np.zeros((room, DIM), np.float32)
        self.label, self.category, self.num = np.zeros((3, room), int)
        self.at[:count] = [t["at"] for t in tracks]
        self.feature[:count] = [np.mean(t["features"][-PAST:], 0) for t in tracks]
        self.square[:count] = (self.feature[:count] ** 2).sum(1)
        self.label[:count] = [mode(t["labels"][-PAST:]) for t in tracks]
        self.category[:count] = [mode(t["categories"]) for t in tracks]
        self.num[:count] = HISTORY
        self.labels = [collections.deque(t["labels"][-PAST:]) for t in tracks]
        self.label_counts = [collections.Counter(d) for d in self.labels]
        self.kinds = [collections.Counter(t["categories"]) for t in tracks]

    def step(self, at: Any, feature: Any, label: Any, category: Any) -> np.ndarray:
        k, w = self.count, PUBLISHED
        gap = ((self.at[:k, None] - at[None]) ** 2).sum(-1)
        square = w.track_shrink**2 * self.square[:k, None] + (feature**2).sum(1)[None]
        square -= 2 * w.track_shrink * self.feature[:k] @ feature.T
        looks = np.log1p(w.beta_v * np.maximum(square, 0))
        cost = np.log(w.beta_l) + gap + looks
        cost += w.beta_c * (self.category[:k, None] != category[None])
        cost += w.beta_s * (self.label[:k, None] != label[None])
        found = assign(cost)
        for n in np.flatnonzero(found < 0):
            found[n] = self.count
            self.count += 1
            self.labels.append(collections.deque())
            self.label_counts.append(collections.Counter())
            self.kinds.append(collections.Counter())
        self.at[found] = at
        self.num[found] += 1
        share = 1 / np.minimum(self.num[found], PAST)[:, None]
        self.feature[found] += share * (feature - self.feature[found])
        self.square[found] = (self.feature[found] ** 2).sum(1)
        for n, row in enumerate(found):
            self.remember(row, int(label[n]), int(category[n]))
        return found

    def remember(self, row: int, label: int, category: int) -> None:
        counts = self.label_counts[row]
        self.labels[row].append(label)
        counts[label] += 1
        if len(self.labels[row]) > PAST:
            counts[self.labels[row].popleft()] -= 1
        self.kinds[row][category] += 1
        self.label[row] = max(counts, key=lambda v: (counts[v], -v))
        kinds = self.kinds[row]
        self.category[row] = max(kinds, key=lambda v: (kinds[v], -v))


def run_plain(num_frames: int, plain_frames: int) -> dict[str, Any]:
    """Tracks and times of both references, from a process with one BLAS thread."""
    done = subprocess.run(
        [sys.executable, __file__, str(num_frames), str(plain_frames)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def main(num_frames: int, plain_frames: int) -> None:
    """What `run_plain` runs."""
    scene = make_scene(200, 8, num_frames)
    table = Simple(scene, 256)
    frames = list(
        zip(
            scene.location.astype(np.float32),
            scene.feature.astype(np.float32),
            scene.label,
            scene.category,
            strict=True,
        )
    )
    tracks = [table.step(*frame).tolist() for frame in frames]
    # The next turns find the same tracks again, under ids that are known by then.
    simple_ms = cpu_ms([lambda: [table.step(*frame) for frame in frames]], 8)[0]
    found: list[np.ndarray] = []
    plain = [lambda: found.append(published(scene, plain_frames))]
    plain_ms = cpu_ms(plain, 1)[0]
    out = {
        "published": found[0].tolist(),
        "published_ms": plain_ms / plain_frames,
        "simple": tracks,
        "simple_ms": simple_ms / num_frames,
    }
    print(json.dumps(out))


# ----------------------------------------------------------------------------- ours


def our_table(
    scene: Scene, config: TrackerConfig, weights: CostWeights, capacity: int
) -> TrackerState:
    """The table after the histories, fed in blocks as long as those that are timed."""
    state = tracker.start(capacity, DIM, NUM_CATEGORIES, 0, config)
    length, width = scene.label.shape
    count = len(scene.histories)
    order = np.tile(np.arange(count), HISTORY)
    when = np.repeat(np.arange(HISTORY), count)
    at, kind = (
        np.array([t[key] for t in scene.histories]) for key in ("at", "category")
    )
    for first in range(0, len(order), length * width):
        who, age = (x[first : first + length * width] for x in (order, when))
        pad = length * width - len(who)
        rows = [
            scene.histories[k]["features"][a] for k, a in zip(who, age, strict=True)
        ]
        columns = (at[who], np.array(rows), who, kind[who], np.ones(len(who), bool))
        block = (
            np.pad(c, [(0, pad)] + [(0, 0)] * (c.ndim - 1)).reshape(
                length, width, *c.shape[1:]
            )
            for c in columns
        )
        state, _ = track(state, observations(*block), weights, config)
    assert int(state.count) == count
    return state


def observations(at: Any, feature: Any, label: Any, kind: Any, valid: Any) -> Any:
    return jax.tree.map(
        jnp.asarray,
        Observations(
            locations=at.astype(np.float32),
            features=feature.astype(np.float32),
            labels=label.astype(np.int32),
            categories=kind.astype(np.int32),
            valid=valid,
            groups=np.full(label.shape, -1, np.int32),
        ),
    )


def track(
    state: TrackerState, block: Observations, weights: CostWeights, config: Any
) -> tuple[TrackerState, tracker.Links]:
    none, key = jnp.zeros((0, 0), bool), jax.random.key(0)
    weights = jax.tree.map(jnp.float32, weights)
    return tracker.track_frames(state, block, weights, none, key, config=config)


def our_frames(scene: Scene) -> Observations:
    valid = np.ones(scene.label.shape, bool)
    return observations(
        scene.location, scene.feature, scene.label, scene.category, valid
    )


def our_run(
    state: TrackerState, scene: Scene, weights: CostWeights, config: TrackerConfig
) -> Callable[[], np.ndarray]:
    """Tracks all frames of the scene in one scan."""
    frames = our_frames(scene)
    return lambda: np.asarray(track(state, frames, weights, config)[1].track)


def our_single(
    state: TrackerState, scene: Scene, weights: CostWeights, config: TrackerConfig
) -> Callable[[], Any]:
    """One frame as a call of its own, which may write into the table it is given."""
    frame = jax.tree.map(lambda leaf: leaf[0], our_frames(scene))
    call = jax.jit(tracker.step, static_argnames="config", donate_argnums=0)
    weights = jax.tree.map(jnp.float32, weights)
    none, key = jnp.zeros((0, 0), bool), jax.random.key(0)
    box = [jax.tree.map(jnp.copy, state)]

    def run() -> None:
        box[0], links = call(box[0], frame, weights, none, config=config, key=key)
        links.track.block_until_ready()

    return run


def first_call(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    out = call()
    return out, time.perf_counter() - start


def cpu_ms(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Least processor time of each call in milliseconds, taken in turns."""
    best = [np.inf] * len(calls)
    for _ in range(repeats):
        for k, call in enumerate(calls):
            count, turn = 0, time.process_time()
            while count == 0 or time.process_time() < turn + 0.1:
                call()
                count += 1
            best[k] = min(best[k], 1e3 * (time.process_time() - turn) / count)
    return best


# ----------------------------------------------------------------------------- rows


def frame_rows(num_frames: int = 200, plain_frames: int = 6) -> Iterator[dict]:
    """A frame at 200 tracks and 8 observations, against both references."""
    scene = make_scene(200, 8, num_frames)
    plain = run_plain(num_frames, plain_frames)
    runs, firsts = {}, {}
    for solver in ("exact", "sinkhorn"):
        config = TrackerConfig(solver=solver, label_memory="mode")
        state = our_table(scene, config, PUBLISHED, 256)
        runs[solver] = our_run(state, scene, PUBLISHED, config)
        runs[f"{solver}, one call"] = our_single(state, scene, PUBLISHED, config)
    for name, run in runs.items():
        firsts[name] = first_call(run)
    for name, ms in zip(runs, cpu_ms(list(runs.values()), 8), strict=True):
        found, compile_s = firsts[name]
        scanned = found is not None
        error = (
            differing(found, plain["simple"], plain["published"]) if scanned else None
        )
        yield line(
            f"tracker frame, T=200 N=8 D=768, {name}",
            ms / num_frames if scanned else ms,
            reference=plain["published_ms"],
            simple=plain["simple_ms"],
            error=error,
            compile_s=None if scanned else compile_s,
            note="bars: 200x published, 1x simple" if scanned else "with the call",
        )


def differing(ours: np.ndarray, *others: list) -> int:
    """Observations on which another one does not agree; it may end earlier."""
    total = 0
    for other in map(np.array, others):
        mine = association.by_appearance(ours[: len(other)].ravel())
        total += (mine != association.by_appearance(other.ravel())).sum()
    return int(total)


def size_rows(num_frames: int = 256) -> Iterator[dict]:
    """Larger tables, with the default settings and weights."""
    weights = association.DEFAULT_WEIGHTS
    for num_tracks, num_obs, bar in ((256, 8, 0.3), (512, 32, 1.0)):
        scene = make_scene(num_tracks, num_obs, num_frames)
        for solver in ("exact", "sinkhorn"):
            config = TrackerConfig(solver=solver)
            state = our_table(scene, config, weights, num_tracks)
            run = our_run(state, scene, weights, config)
            run()
            ms = cpu_ms([run], 8)[0] / num_frames
            name = f"tracker frame, T={num_tracks} N={num_obs} D=768, {solver}"
            yield line(name, ms, note=f"bar: {bar} ms")


def video_rows(num_frames: int = 4000, num_objects: int = 30) -> Iterator[dict]:
    """A whole video through `track_online`, with 1,200 changes of a 2D id."""
    scene = make_scene(num_objects, num_objects, num_frames, renamed=0.01)
    compiled: Any = tracker.track_frames
    columns = columns_of(scene)
    for lag in (0, 5):
        config = TrackerConfig(lag=lag)
        run = functools.partial(
            association.track_online, columns, association.DEFAULT_WEIGHTS, config
        )
        before = compiled._cache_size()
        _, first_s = first_call(run)
        made = compiled._cache_size() - before
        _, wall_s = first_call(run)
        yield line(
            f"whole video, {num_frames} frames of {num_objects}, lag {lag}",
            cpu_ms([run], 2)[0],
            compile_s=first_s - wall_s,
            note=f"wall {wall_s:.2f} s, bar: 2.5; compilations {made}, bar: 4",
        )


def columns_of(scene: Scene) -> Columns:
    num_frames, num_obs = scene.label.shape
    return Columns(
        frame_idx=np.repeat(np.arange(num_frames, dtype=np.int32), num_obs),
        segment_id=scene.label.ravel().astype(np.int64),
        category=scene.category.ravel().astype(np.int32),
        location=scene.location.reshape(-1, 3).astype(np.float32),
        feature=scene.feature.reshape(-1, DIM).astype(np.float32),
        num_frames=num_frames,
    )


def sweep_rows(num_frames: int = 64) -> Iterator[dict]:
    """64 settings of the weights at once by vmap, against one."""
    scene = make_scene(200, 8, num_frames)
    yield sweep_row(scene, "exact")
    yield sweep_row(scene, "sinkhorn")


def sweep_row(scene: Scene, solver: Any, num_settings: int = 64) -> dict[str, Any]:
    config, weights = TrackerConfig(solver=solver), association.DEFAULT_WEIGHTS
    state, frames = our_table(scene, config, weights, 256), our_frames(scene)

    def one(alpha: jax.Array) -> jax.Array:
        return track(state, frames, dataclasses.replace(weights, alpha=alpha), config)[
            1
        ].track

    alphas = jnp.linspace(5.0, 20.0, num_settings)
    single, many = jax.jit(one), jax.jit(jax.vmap(one))
    found, compile_s = first_call(lambda: np.asarray(many(alphas)))
    apart = np.stack([single(alpha) for alpha in alphas])
    together, alone = cpu_ms(
        [
            lambda: many(alphas).block_until_ready(),
            lambda: single(alphas[0]).block_until_ready(),
        ],
        3,
    )
    return line(
        f"{num_settings} settings at once, {len(scene.label)} frames, {solver}",
        together,
        error=int((found != apart).sum()),
        compile_s=compile_s,
        note=f"{together / alone:.1f} times one ({alone:.1f} ms); bar: 16",
    )


def rows() -> Iterator[dict[str, Any]]:
    """All lines of this suite."""
    yield from frame_rows()
    yield from size_rows()
    yield from video_rows()
    yield from sweep_rows()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
