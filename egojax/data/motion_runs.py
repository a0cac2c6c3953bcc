"""What a run of motion segmentation has found in a clip, for the jobs that use it.

    RUN/clips/NAME/labels/FRAME.png    0 = at rest, 1, 2, ... = groups that move as one

A group keeps its number over the clip. What has moved is in its mask as long as points
that saw it move are followed, also while it stands. Before it first moves it may be
missing, and in a long rest as well; when it moves again it has its number again, but
not if it was out of view meanwhile: that is for tracking to find out.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from egojax.data import images, runs
from egojax.data.frame_tables import match_frames
from egojax.errors import UsageError
from egojax.types import Clip, Source

JOB, STAGE = "motion_seg", "masks"  # The job, and its stage that writes the labels.
AGAIN = "run configs/motion_seg.py"
SAME = ("scene", "num_frames", "camera_path")  # Of a world that is drawn.


def is_run(path: pathlib.Path | str) -> bool:
    """Whether this is a run folder, of any job."""
    return (pathlib.Path(path) / "config.json").is_file()


def with_motion_groups(
    clip: Clip, run: pathlib.Path | str, world: Mapping[str, Any] | None = None
) -> Clip:
    """The clip with the motion groups of a run as its 2D segments, `labels`.

    Args:
      clip: Named as in the run, with frames of the same names and size. Its own
        segments are left out, with their features and boxes.
      run: A finished run of configs/motion_seg.py.
      world: How the clip was drawn, `config.world`; None if it was not.

    Raises:
      UsageError: as of `label_folder`; or no frame has a mask. A mask that cannot be
        read is a `FrameError` of its frame.
    """
    folder = label_folder(clip, run, world)
    found = images.list_frames(folder, images.LABELS)
    paths, notes = match_frames(folder, clip.frame_ids, found)
    labels: Source[Any] = images.file_source(paths, images.read_labels, clip.size_hw)
    told = f"segments are the motion groups of {run}"
    return clip.replace(
        labels=labels,
        segments=None,
        features=None,
        boxes=None,
        notes=(*clip.notes, told, *notes),
    )


def label_folder(
    clip: Clip, run: pathlib.Path | str, world: Mapping[str, Any] | None = None
) -> pathlib.Path:
    """The folder with the masks of a clip in a run.

    Args:
      clip, run, world: As of `with_motion_groups`.

    Raises:
      UsageError: no run of motion segmentation, or one of other clips, of another world
        or of images of another size, or it has not finished.
    """
    where = f"config.data.motion={run}"
    if len(set(clip.frame_ids)) < clip.num_frames:
        raise UsageError(
            f"{where}: frames of {clip.name} come twice, and have other groups each "
            "time; expected config.data.repeat=1"
        )
    try:
        config = runs.open_run(pathlib.Path(run))["config"]
    except UsageError as err:
        raise UsageError(f"config.data.motion: {err}; expected {_EXPECTED}") from None
    if config.get("job") != JOB:
        raise UsageError(f"{where}: a run of {config.get('job')}; expected {_EXPECTED}")
    folder = runs.ClipFolder(pathlib.Path(run) / "clips" / clip.name)
    if not folder.path.is_dir():
        known = sorted(path.name for path in folder.path.parent.glob("*"))
        raise UsageError(
            f"{where}: nothing of the clip {clip.name}; it has {', '.join(known) or 0}"
        )
    _check_world(where, config, world)
    if folder.done(STAGE) is None:
        raise UsageError(
            f"{where}: the stage {STAGE} of {clip.name} has not finished; {AGAIN} again"
        )
    _check_size(where, clip, folder.path / "labels")
    return folder.path / "labels"


_EXPECTED = "a run folder of configs/motion_seg.py"


def _check_world(
    where: str, config: Mapping[str, Any], world: Mapping[str, Any] | None
) -> None:
    """Refuses a drawn clip that only has the name of the run's."""
    data, there = config.get("data"), config.get("world")
    is_drawn = isinstance(data, dict) and data.get("name") == "world"
    if world is None or not is_drawn or not isinstance(there, dict):
        return
    for name in SAME:
        if name in there and name in world and there[name] != world[name]:
            raise UsageError(
                f"{where}: of another clip: config.world.{name} is {there[name]!r} "
                f"there and {world[name]!r} here"
            )


def _check_size(where: str, clip: Clip, folder: pathlib.Path) -> None:
    """Refuses masks of another size by the first one that can be read."""
    paths = [*images.list_frames(folder, images.LABELS).values()]
    high, wide = images.first_size(paths, images.read_labels)
    if (high, wide) != tuple(clip.size_hw):
        raise UsageError(
            f"{where}: masks of {wide} x {high} pixels; {clip.name} has images of "
            f"{clip.size_hw[1]} x {clip.size_hw[0]}: {AGAIN} on these"
        )
