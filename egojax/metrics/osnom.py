"""PCL: percentage of correctly located objects, seen or not, as OSNOM counts it.

Every object keeps its last track id and every track its last location; both are also
written back to the frames before they were first known.

Source: Plizzari et al. 2025 (Spatial Cognition from Egocentric Video: Out of Sight, Not
Out of Mind), evaluation_code/evaluate.py.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

Location = np.ndarray  # float64 (3,), metres.


class FrameDetections(NamedTuple):
    """The detections of one frame, a row each."""

    objects: Sequence[str]  # Names of the true objects.
    track_ids: Sequence[int]  # The track that each was given to.
    locations: np.ndarray  # float64 (n, 3), metres.


class _Memory(NamedTuple):
    """What is remembered at one frame."""

    track_of: dict[str, int]
    true_location: dict[str, Location]
    track_location: dict[int, Location]


def evaluation_frames(
    detections: Mapping[int, FrameDetections],
) -> dict[tuple[str, ...], int]:
    """One frame for each set of objects that are seen together.

    Args:
      detections: Frame position to its detections.

    Returns:
      Sorted names to the middle one of the frames that show exactly these; sets of more
      than two objects, or of two where there are no larger ones.
    """
    for smallest in (3, 2):
        groups: dict[tuple[str, ...], list[int]] = {}
        for frame in sorted(detections):
            names = tuple(sorted(set(detections[frame].objects)))
            if len(names) >= smallest:
                groups.setdefault(names, []).append(frame)
        if groups:
            return {names: group[len(group) // 2] for names, group in groups.items()}
    return {}


def percentage_correct(
    detections: Mapping[int, FrameDetections],
    num_frames: int,
    distances: Sequence[int],
    radii: Sequence[float],
) -> np.ndarray:
    """PCL for each distance in frames and each radius in metres.

    Args:
      detections: Frame position (0..num_frames - 1) to its detections.
      num_frames: Of the whole video.
      distances: Frames between the evaluation frame and the target, both ways; 0 counts
        the frame twice.
      radii: Metres between the true location and the track's.

    Returns:
      Float64 (distances, radii) in [0, 1]; -1 where nothing is counted.
    """
    memory = _carried(detections, num_frames)
    queries = evaluation_frames(detections)
    out = np.full((len(distances), len(radii)), -1.0)
    for k, n in enumerate(distances):
        errors = [
            _error(memory[target], name, memory[frame].track_of[name])
            for names, frame in queries.items()
            for name in names
            for target in (frame + n, frame - n)
            if 0 <= target < num_frames and name in memory[target].true_location
        ]
        if errors:
            out[k] = np.mean(np.array(errors)[:, None] <= np.asarray(radii), axis=0)
    return out


def _error(memory: _Memory, name: str, track_id: int) -> float:
    """Distance of a track's location to the truth; infinite if it has none."""
    if track_id not in memory.track_location:
        return np.inf
    delta = memory.track_location[track_id] - memory.true_location[name]
    return float(np.linalg.norm(delta))


def _carried(
    detections: Mapping[int, FrameDetections], num_frames: int
) -> list[_Memory]:
    """The memory of every frame, carried forward and then backward."""
    memory: list[_Memory] = []
    now = _Memory({}, {}, {})
    for frame in range(num_frames):
        now = _Memory(
            dict(now.track_of), dict(now.true_location), dict(now.track_location)
        )
        if frame in detections:
            now = _updated(now, detections[frame])
        memory.append(now)
    for frame in range(num_frames - 2, -1, -1):
        here, later = memory[frame], memory[frame + 1]
        for name, track_id in later.track_of.items():
            here.track_of.setdefault(name, track_id)
        for name, location in later.true_location.items():
            here.true_location.setdefault(name, location)
    _carry_tracks_back(memory)
    return memory


def _updated(memory: _Memory, seen: FrameDetections) -> _Memory:
    rows = zip(seen.objects, seen.track_ids, np.asarray(seen.locations), strict=True)
    for name, track_id, location in rows:
        memory.track_of[name] = track_id
        memory.true_location[name] = location
        memory.track_location[track_id] = location
    alive = set(memory.track_of.values())
    kept = {i: at for i, at in memory.track_location.items() if i in alive}
    return memory._replace(track_location=kept)


def _carry_tracks_back(memory: list[_Memory]) -> None:
    """A track's first location holds wherever it was some object's id before."""
    first: dict[int, tuple[int, Location]] = {}
    for frame, here in enumerate(memory):
        for track_id, location in here.track_location.items():
            first.setdefault(track_id, (frame, location))
    for track_id, (known_from, location) in first.items():
        for here in memory[:known_from]:
            if track_id in here.track_of.values():
                here.track_location[track_id] = location
