"""Between what is on disk of a clip's observations and what the association takes."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from egojax.data import observations
from egojax.data.observations import ObservationChunk
from egojax.methods import association, lifting, observing
from egojax.ops.depth import apply_alignment, settle
from egojax.ops.lens import LENSES
from egojax.types import Camera, Clip, TrackTable


def join_chunks(chunks: Iterable[ObservationChunk]) -> ObservationChunk:
    """All observations of a clip as one."""
    return observations.join(list(chunks))


def columns_of(
    clip: Clip, observed: ObservationChunk, location: np.ndarray
) -> association.Columns:
    """What the association looks at."""
    return association.Columns(
        frame_idx=observed.segments["frame_idx"],
        segment_id=observed.segments["segment_id"],
        category=observed.segments["category"],
        location=location,
        feature=observed.segments["feature"],
        num_frames=clip.num_frames,
    )


def locate(clip: Clip, observed: ObservationChunk, depth: Any) -> np.ndarray:
    """World locations of all observations, metres, float32 (M, 3)."""
    rows, frames = observed.segments, observed.frames
    at = rows["frame_idx"] - observed.start
    aligned = settle(frames["scale"], frames["shift"], depth.smooth)
    # A value of its own for every row: maps of one pixel.
    raw = rows["raw_depth"][:, None, None]
    fit = np.float32(aligned.scale[at]), np.float32(aligned.shift[at])
    z = np.asarray(apply_alignment(raw, *fit, space=depth.space))[:, 0, 0]
    z = np.where(frames["has_camera"][at], z, np.nan)
    camera = cameras_of(clip, observed)
    return lifting.lift(rows["centroid_xy"], z, camera, clip.metric_scale)


def cameras_of(clip: Clip, observed: ObservationChunk) -> Camera:
    """The camera of each observation's frame, (M,) of them; identity where none is."""
    frames = observed.frames
    at = observed.segments["frame_idx"] - observed.start
    lens, size = observing.lens_of(clip)
    return Camera(
        intrinsics=frames["intrinsics"][at],
        w2c=frames["w2c"][at],
        distortion=frames["distortion"][at][:, : len(LENSES[lens])],
        size_hw=size,
        lens=lens,
    )


def table_of(
    observed: ObservationChunk, location: np.ndarray, found: association.Identities
) -> TrackTable:
    """The columns of `tracks.npz`."""
    rows = observed.segments
    return TrackTable(
        frame_idx=rows["frame_idx"],
        segment_id=rows["segment_id"],
        track_id=found.track_id,
        category=rows["category"],
        score=rows["score"],
        confidence=found.confidence,
        location=location,
        centroid_xy=rows["centroid_xy"],
        area=rows["area"],
    )
