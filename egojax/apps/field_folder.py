"""What a decomposition has left of a clip: its photographs beside its renderings."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from egojax.apps.field_frames import Moment
from egojax.data.stream_images import StreamImages, read_images
from egojax.errors import FrameError, UsageError
from egojax.types import Clip, SkippedFrame, View

STREAMS, FIXED, VIEWS = "streams", "fixed", "views"  # Folders of a clip's folder.


class Shown(NamedTuple):
    """One time of a clip."""

    frame_idx: int
    moment: Moment
    fixed_idx: int | None  # The time that the fixed view shows.
    skipped: SkippedFrame | None  # Set if the photograph cannot be read.


class Rendered(NamedTuple):
    """A clip, and the folder with `streams/` and `fixed/`."""

    clip: Clip
    folder: pathlib.Path

    def times(self, part: str = STREAMS) -> list[int]:
        """The frames that were rendered, in order."""
        names = set(self.names(part))
        return [t for t, name in enumerate(self.clip.frame_ids) if name in names]

    def names(self, part: str) -> list[str]:
        """The renderings in a folder, by name; none if it is not there."""
        return sorted(path.stem for path in (self.folder / part).glob("*.npz"))

    def images(self, part: str, t: int) -> StreamImages:
        """A rendering of frame t.

        Raises:
          UsageError: damaged, or not of the size of the clip.
        """
        path = self.folder / part / f"{self.clip.frame_ids[t]}.npz"
        found = read_images(path)
        height, width = found.rgb.shape[:2]
        if (height, width) != self.clip.size_hw:
            expected = f"{self.clip.size_hw[1]} x {self.clip.size_hw[0]}"
            raise UsageError(
                f"{path}: {width} x {height} pixels; the clip's frames are {expected}; "
                "--only=render makes it again"
            )
        return found

    def photo(self, t: int) -> np.ndarray | None:
        """Frame t as it was taken, uint8 (H, W, 3).

        Raises:
          FrameError: it cannot be read.
        """
        return None if self.clip.frames is None else self.clip.frames[t]

    def moments(self, times: Sequence[int]) -> Iterator[Shown]:
        """What is known of each time; of fixed views, where fewer, the nearest."""
        fixed = np.array(self.times(FIXED))
        at, below = None, None
        for t in times:
            if len(fixed):
                nearest = int(fixed[np.abs(fixed - t).argmin()])
                if nearest != at:
                    at, below = nearest, self.images(FIXED, nearest)
            photo, skipped = None, None
            try:
                photo = self.photo(t)
            except FrameError as err:
                skipped = SkippedFrame(t, str(err))
            yield Shown(t, Moment(photo, self.images(STREAMS, t), below), at, skipped)

    @property
    def is_annotated(self) -> bool:
        """Whether it is known of some frames what moves."""
        return self.clip.truth is not None and "dynamic" in self.clip.truth.streams

    def truth(self, t: int) -> np.ndarray | None:
        """The true mask of all that moves, bool (H, W); None where it is not known.

        Raises:
          FrameError: it cannot be read.
        """
        if self.clip.truth is None or not self.is_annotated:
            return None
        return self.clip.truth.streams["dynamic"][t]

    def split(self, t: int) -> str:
        """Of frame t, "" where it is not known."""
        try:
            view: View | None = None if self.clip.views is None else self.clip.views[t]
        except FrameError:
            return ""
        return "" if view is None else view.split
