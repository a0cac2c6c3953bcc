"""Summary videos of a decomposition: ours, with masks and words, and the published one.

FOLDER/summary.mp4                            own view, masks, fixed view
FOLDER/official/summary/cat-SID-Nn.mp4        ten tiles, nothing else
"""

import pathlib
from collections.abc import Callable

from egojax.apps.field_folder import FIXED, Rendered, Shown
from egojax.apps.field_frames import (
    TILE_WIDTH,
    Titles,
    official_frame,
    summary_frame,
)
from egojax.data import arrays
from egojax.data.video import VideoWriter
from egojax.errors import UsageError
from egojax.ops.scene_bounds import strided
from egojax.types import Clip, SkippedFrame

FPS = 10


def write_summary(
    path: pathlib.Path,
    clip: Clip,
    folder: pathlib.Path,
    *,
    fixed_frame: str | None = None,
    width: int = TILE_WIDTH,
    progress: Callable[[int, int], None] | None = None,
) -> list[SkippedFrame]:
    """Writes the video of all rendered frames, 10 a second.

    Rows of five tiles with captions: what the frame's camera sees, the soft masks, and
    what one fixed camera sees at that time (left out without `fixed/`; where it has
    fewer times, the nearest, which is named).

    Args:
      path: Ends in .mp4.
      clip: With frames.
      folder: The clip's, with `streams/`.
      fixed_frame: The frame whose viewpoint the fixed one is.
      width: Of a tile, pixels; the video is five times as wide.
      progress: Told the frames done and the frames in all.

    Returns:
      The frames whose photograph could not be read; they are shown without it.

    Raises:
      UsageError: nothing was rendered, or a rendering is damaged.
    """
    rendered, skipped = Rendered(clip, folder), []
    times = _times(rendered)
    arrays.make_folder(path.parent)
    with VideoWriter(path, FPS) as video:
        for n, shown in enumerate(rendered.moments(times), 1):
            titles = _titles(clip, shown, fixed_frame)
            video.write(summary_frame(shown.moment, titles, width))
            if shown.skipped is not None:
                skipped.append(shown.skipped)
            if progress is not None:
                progress(n, len(times))
    return skipped


def _times(rendered: Rendered) -> list[int]:
    times = rendered.times()
    if not times:
        raise UsageError(
            f"{rendered.folder}: no rendered frame of {rendered.clip.name} in "
            "streams/; --only=render makes them"
        )
    return times


def _titles(clip: Clip, shown: Shown, fixed_frame: str | None) -> Titles:
    def clock(t: int) -> str:
        return f"{clip.frame_ids[t]}   {t / clip.fps:.1f} s"

    below = "" if shown.fixed_idx is None else f"at {clock(shown.fixed_idx)}"
    fixed = f"seen from {fixed_frame}" if fixed_frame else ""
    return Titles(clock(shown.frame_idx), fixed, below)


def write_official_summary(
    folder: pathlib.Path,
    clip: Clip,
    *,
    fixed_frame: str,
    num_samples: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pathlib.Path | None:
    """Writes the published summary video, `official/summary/cat-SID-Nn.mp4`.

    Of the times that were rendered from both viewpoints; n is how many they are.

    Args:
      folder: The clip's, with `streams/` and `fixed/`.
      clip: With frames.
      fixed_frame: SID, the name of the frame whose viewpoint the fixed one is.
      num_samples: At most so many, every n-th; 0 = all.
      progress: Told the frames done and the frames in all.

    Returns:
      The file; None without any such time.

    Raises:
      UsageError: a rendering is damaged.

    Source: NeuralDiff, evaluate.py, render_video.
    """
    rendered = Rendered(clip, folder)
    both = sorted(set(rendered.times()) & set(rendered.times(FIXED)))
    times = [both[n] for n in strided(len(both), num_samples)]
    if not times:
        return None
    path = folder / "official" / "summary" / f"cat-{fixed_frame}-N{len(times)}.mp4"
    arrays.make_folder(path.parent)
    with VideoWriter(path, FPS) as video:
        for n, shown in enumerate(rendered.moments(times), 1):
            video.write(official_frame(shown.moment))
            if progress is not None:
                progress(n, len(times))
    return path
