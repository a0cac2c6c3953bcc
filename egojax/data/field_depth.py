"""The static depth that a decomposition has left in its run folder, as a clip's own."""

import pathlib

import cv2
import numpy as np

from egojax.data import stream_images
from egojax.errors import FrameError, UsageError
from egojax.types import Clip, Source


def with_field_depth(clip: Clip, run: pathlib.Path | str) -> Clip:
    """The clip with `static_depth` as radiance fields of it show the static scene.

    Maps of another size are resized; where the field is empty they hold +inf. A frame
    that was not rendered has none.

    Args:
      clip: Named as in the run, with frames of the same names.
      run: A run folder of the decomposition job.

    Raises:
      UsageError: there is no rendered frame of this clip.
    """
    folder = pathlib.Path(run) / "clips" / clip.name / "streams"
    names = {path.stem for path in folder.glob("*.npz")}
    if not names & set(clip.frame_ids):
        raise UsageError(
            f"{folder}: no rendered frame of {clip.name}; run the decomposition of the "
            "same clip first: configs/decomposition.py"
        )

    def depth(t: int) -> np.ndarray | None:
        name = clip.frame_ids[t]
        if name not in names:
            return None
        try:
            found = stream_images.read_images(folder / f"{name}.npz").static_depth
        except UsageError as err:
            raise FrameError(str(err)) from None
        return _resized(found, clip.size_hw)

    missing = len(set(clip.frame_ids) - names)
    notes = (f"{missing} frames have no static depth in {run}",) if missing else ()
    return clip.replace(
        static_depth=Source(depth, clip.num_frames), notes=(*clip.notes, *notes)
    )


def _resized(depth: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Linear in disparity, in which planes are linear and +inf is a number."""
    if depth.shape == tuple(size_hw):
        return depth
    size = size_hw[1], size_hw[0]
    known = np.isfinite(depth)
    disparity = np.where(known, 1.0 / np.where(known, depth, 1.0), 0.0)
    # Weights keep what is empty from pulling its neighbours away.
    layers = np.stack([disparity, known], -1).astype(np.float32)
    total, weight = np.moveaxis(cv2.resize(layers, size), -1, 0)
    nearest = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    is_known = (nearest > 0) & (total > 0)
    return np.where(
        is_known, weight / np.where(is_known, total, 1.0), np.float32(np.inf)
    )
