"""Tracks of a disk that moves, rests, and moves again, before a camera that pans.

Tracks last a few frames only, and points are sown where there is room: none lasts
through the rest.
"""

import numpy as np

from egojax.types import PointTracks

SIZE = (120, 200)
RADIUS, CELL = 22, 7  # Pixels.
LASTS = (9, 20)  # Frames of tracks.
FRAMES, REST = 100, (32, 66)  # Frames, from and to when the disk rests.


def center(frame: int) -> np.ndarray:
    """Where the disk is in the scene, pixels."""
    t = min(frame, REST[0]) + max(frame - REST[1], 0)
    return np.array([60 + 35 * np.sin(0.08 * t), 60 + 22 * np.sin(0.11 * t)])


def resting_clip(seed: int = 0) -> tuple[PointTracks, np.ndarray]:
    """The tracks, and 1 for those on the disk, int (N,)."""
    rng = np.random.default_rng(seed)
    done: list[tuple[int, bool, list[np.ndarray]]] = []
    alive: list[tuple[int, bool, list[np.ndarray], int]] = []
    for t in range(FRAMES):
        pan = np.array([0.25 * t, 4 * np.sin(t / 20)])
        moves = [np.array([-0.25, 0.0]), center(t) - center(max(t - 1, 0))]
        step = -pan + np.array([0.25 * (t - 1), 4 * np.sin((t - 1) / 20)])
        kept = []
        for first, on_disk, places, end in alive:
            place = places[-1] + step + on_disk * moves[1]
            inside = ((place > 1) & (place < np.array(SIZE[::-1]) - 1)).all()
            hidden = not on_disk and _on_disk(place, pan, t)
            if t < end and inside and not hidden:
                places.append(place)
                kept.append((first, on_disk, places, end))
            else:
                done.append((first, on_disk, places))
        alive = kept
        cells = {tuple((places[-1] // CELL).astype(int)) for _, _, places, _ in alive}
        for x in range(SIZE[1] // CELL):
            for y in range(SIZE[0] // CELL):
                if (x, y) not in cells and rng.random() < 0.5:
                    place = (np.array([x, y]) + rng.random(2)) * CELL
                    end = t + int(rng.integers(*LASTS))
                    alive.append((t, _on_disk(place, pan, t), [place], end))
    every = [*done, *((a, b, c) for a, b, c, _ in alive)]
    xy = np.concatenate([places for _, _, places in every])
    xy = (xy + rng.normal(0, 0.05, xy.shape)).astype(np.float32)
    first = np.array([first for first, *_ in every], np.int32)
    count = np.array([len(places) for *_, places in every], np.int32)
    return PointTracks(first, count, xy, SIZE), np.array([int(b) for _, b, _ in every])


def _on_disk(place: np.ndarray, pan: np.ndarray, frame: int) -> bool:
    return bool(np.linalg.norm(place + pan - center(frame)) < RADIUS)
