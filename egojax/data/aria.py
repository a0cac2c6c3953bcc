"""Aria Digital Twin recordings, read in place through `projectaria-tools`.

    FOLDER/video.vrs              images and the factory calibration
    FOLDER/depth_images.vrs       true depth: camera z in millimetres, 0 = none
    FOLDER/segmentations.vrs      true instance of every pixel (64-bit uid)
    FOLDER/aria_trajectory.csv    poses of the device, device to world
    FOLDER/scene_objects.csv      poses of the objects; time -1 = it never moves
    FOLDER/3d_bounding_box.csv    boxes of the objects in their own axes
    FOLDER/instances.json         names and categories

Uids do not fit the label maps: object ids are ranks 1..n of the uids in instances.json,
ascending. The images lie as the sensor does, a quarter turn from upright.

Source: the data format pages of the Aria Digital Twin documentation, which say that
  depth is "in the camera's Z-axis"; a test on real data holds it to that.
"""

import contextlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from egojax.data import arrays
from egojax.data.csv_tables import (
    frame_rate,
    matrices,
    nearest,
    read_table,
    rows_by_time,
)
from egojax.data.hot3d import POSE_COLUMNS
from egojax.errors import FrameError, UsageError
from egojax.ops.camera import centers_from_integers
from egojax.ops.segments import rank_labels
from egojax.types import Camera, Clip, Objects, Segments, Source

# Stream of a camera in video.vrs -> its label there, and the streams of its true maps
# in depth_images.vrs and segmentations.vrs.
STREAMS = {
    "214-1": ("camera-rgb", "345-1", "400-1"),
    "1201-1": ("camera-slam-left", "345-2", "400-2"),
    "1201-2": ("camera-slam-right", "345-3", "400-3"),
}
TRAJECTORY = {
    "tracking_timestamp_us": int,
    **{f"t{axis}_world_device": float for axis in "xyz"},
    **{f"q{axis}_world_device": float for axis in "xyzw"},
}
EXTENT = tuple(f"p_local_obj_{a}{end}[m]" for end in ("min", "max") for a in "xyz")
# True maps belong to the image whose stamp is within this time.
TOLERANCE_NS = 5_000_000
# Poses come at some 30 Hz; over longer gaps the head may have been anywhere.
LONGEST_GAP_NS = 200_000_000


def is_recording(folder: pathlib.Path) -> bool:
    """Whether the folder looks like an Aria Digital Twin recording."""
    names = ("video.vrs", "aria_trajectory.csv")
    return all((folder / name).is_file() for name in names)


def read_clip(folder: pathlib.Path, stream: str = "214-1") -> Clip:
    """Reads one camera stream of a recording.

    Args:
      stream: A key of `STREAMS`; "214-1" is the colour camera.

    Returns:
      A clip with frames, fisheye cameras, depth in metres, labels, segments, and in
      `truth` the same with `objects`: poses, boxes (`extent`) and their centers. Depth
      and labels are None for frames that have none.

    Raises:
      UsageError: the extra `aria` is not installed, or files are missing or malformed.
    """
    if stream not in STREAMS:
        raise UsageError(f"{folder}: no stream {stream}; it has {', '.join(STREAMS)}")
    label, depth_id, segment_id = STREAMS[stream]
    video = _Stream(folder / "video.vrs", stream)
    uids, names, category = _read_instances(folder / "instances.json")
    model = video.calibration(label)
    size_hw = model.size_hw
    depth = _Stream(folder / "depth_images.vrs", depth_id)
    segmentation = _Stream(folder / "segmentations.vrs", segment_id)
    labels = _matched(video.stamps, segmentation, lambda raw: _rank(raw, uids), size_hw)
    clip = Clip(
        name=f"{folder.resolve().name}_{stream}",
        frame_ids=tuple(str(t) for t in video.stamps),
        size_hw=size_hw,
        fps=frame_rate(video.stamps),
        category_names=names,
        frames=Source(lambda t: _rgb(video.read(t)), len(video.stamps)),
        camera=_cameras(folder / "aria_trajectory.csv", video.stamps, model),
        labels=labels,
        segments=labels.map(lambda frame: _segments(frame, category)),
        depth=_matched(video.stamps, depth, _metres, size_hw),
        notes=("images as the sensor took them, a quarter turn from upright",),
    )
    objects = _objects(folder, uids, category, video.stamps)
    return clip.replace(truth=clip.replace(objects=objects, notes=()))


class _Model(NamedTuple):
    """A calibrated camera on the device."""

    intrinsics: np.ndarray
    distortion: np.ndarray
    size_hw: tuple[int, int]
    c2d: np.ndarray  # Camera to device, (4, 4).


class _Stream:
    """The images of one stream of a .vrs file."""

    def __init__(self, path: pathlib.Path, stream: str):
        tools = _tools(path)
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        self._provider = _open(tools, path)
        self.path = path
        self._id = tools.stream_id.StreamId(stream)
        self._lock = threading.Lock()
        if str(self._id) not in map(str, self._provider.get_all_streams()):
            raise UsageError(f"{path}: has no stream {stream}")
        device_time = tools.sensor_data.TimeDomain.DEVICE_TIME
        stamps = self._provider.get_timestamps_ns(self._id, device_time)
        self.stamps = np.asarray(stamps, np.int64)
        if not len(stamps):
            raise UsageError(f"{path}: stream {stream} has no images")

    def read(self, index: int) -> np.ndarray:
        with self._lock:
            try:
                image, _ = self._provider.get_image_data_by_index(self._id, index)
                return image.to_numpy_array()
            except (RuntimeError, TypeError, ValueError) as err:
                raise FrameError(f"{self.path}: image {index}: {err}") from None

    def calibration(self, label: str) -> _Model:
        device = self._provider.get_device_calibration()
        model = None if device is None else device.get_camera_calib(label)
        if model is None:
            raise UsageError(f"{self.path}: has no calibration of {label}")
        kind = str(_ask(model, "model_name")).rpartition(".")[2]
        if kind != "FISHEYE624":
            raise UsageError(f"{self.path}: lens model {kind}; expected FISHEYE624")
        focal, cx, cy, *distortion = _ask(model, "projection_params")
        width, height = (int(n) for n in model.get_image_size())
        intrinsics = centers_from_integers([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])
        c2d = model.get_transform_device_camera().to_matrix()
        return _Model(intrinsics, np.asarray(distortion), (height, width), c2d)


def _open(tools: Any, path: pathlib.Path) -> Any:
    with _quiet():
        try:
            provider = tools.data_provider.create_vrs_data_provider(str(path))
        except RuntimeError:
            provider = None
    if provider is None:
        raise UsageError(f"{path}: not a readable VRS file")
    return provider


def _ask(model: Any, name: str) -> Any:
    """The tools have renamed their getters: get_NAME where there is one."""
    getter = getattr(model, f"get_{name}", None) or getattr(model, name)
    return getter()


def _tools(path: pathlib.Path) -> Any:
    try:
        from projectaria_tools.core import data_provider, sensor_data, stream_id
    except ImportError:
        raise UsageError(
            f"{path}: reading it needs the extra aria: pip install 'egojax[aria]'"
        ) from None

    class Tools(NamedTuple):
        data_provider: Any
        sensor_data: Any
        stream_id: Any

    return Tools(data_provider, sensor_data, stream_id)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tools log every opening to both standard streams, with no switch for it."""
    saved = [os.dup(1), os.dup(2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        for target, handle in zip((1, 2), saved, strict=True):
            os.dup2(handle, target)
            os.close(handle)
        os.close(null)


def _read_instances(
    path: pathlib.Path,
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Uids ascending, names of categories, and the category of each uid."""
    found, kinds, problems = arrays.read_json(path), {}, []
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path}: expected an object with a member per instance")
    for uid, entry in found.items():
        kind = entry.get("category") if isinstance(entry, dict) else None
        if not (uid.isdecimal() and int(uid) < 2**63 and isinstance(kind, str)):
            problems.append(f"{path}: {uid}: expected a number with a category")
        else:
            kinds[int(uid)] = kind
    if problems:
        raise UsageError.from_problems(problems)
    names = tuple(sorted(set(kinds.values())))
    uids = sorted(kinds)
    category = np.asarray([names.index(kinds[uid]) for uid in uids], np.int32)
    return np.asarray(uids, np.int64), names, category


def _rank(raw: np.ndarray, uids: np.ndarray) -> np.ndarray:
    """Ranks 1..n of the uids; pixels of no known instance are background."""
    ids, ranked = rank_labels(raw.astype(np.int64))
    row = np.minimum(np.searchsorted(uids, ids), len(uids) - 1)
    table = np.concatenate([[0], np.where(uids[row] == ids, row + 1, 0)])
    return table.astype(np.int32)[ranked]


def _metres(raw: np.ndarray) -> np.ndarray:
    return np.where(raw == 0, np.float32(np.inf), raw.astype(np.float32) * 1e-3)


def _rgb(raw: np.ndarray) -> np.ndarray:
    return raw if raw.ndim == 3 else np.repeat(raw[..., None], 3, axis=-1)


def _segments(labels: np.ndarray | None, category: np.ndarray) -> Segments | None:
    if labels is None:
        return None
    there = np.bincount(labels.ravel(), minlength=len(category) + 1)[1:] > 0
    ids = np.flatnonzero(there) + 1
    return Segments(ids, category[ids - 1], np.ones(len(ids), np.float32))


def _matched(
    stamps: np.ndarray,
    stream: _Stream,
    convert: Callable[[np.ndarray], np.ndarray],
    size_hw: tuple[int, int],
) -> Source[Any]:
    """The map nearest in time to each image, None where there is none in tolerance."""

    def read(t: int) -> np.ndarray | None:
        index = nearest(stream.stamps, int(stamps[t]), TOLERANCE_NS)
        if index is None:
            return None
        raw = stream.read(index)
        if raw.shape != size_hw:
            raise FrameError(f"{stream.path}: {raw.shape} map, image {size_hw}")
        return convert(raw)

    return Source(read, len(stamps))


def _cameras(path: pathlib.Path, stamps: np.ndarray, model: _Model) -> Source[Any]:
    """Cameras with device poses interpolated at the times of the images."""
    table = read_table(path, TRAJECTORY)
    times = table["tracking_timestamp_us"] * 1000
    if not len(times) or (np.diff(times) <= 0).any():
        raise UsageError(f"{path}: expected poses with rising time stamps")
    poses = matrices(path, table, "t{}_world_device", "q{}_world_device")

    def read(t: int) -> Camera | None:
        pose = _pose_at(times, poses, int(stamps[t]))
        if pose is None:
            return None
        w2c = np.linalg.inv(pose @ model.c2d)
        return Camera(
            model.intrinsics, w2c, model.distortion, model.size_hw, "fisheye624"
        )

    return Source(read, len(stamps))


def _pose_at(times: np.ndarray, poses: np.ndarray, t: int) -> np.ndarray | None:
    """Pose at a time: linear and slerp; None outside the tracked time or in a gap."""
    close = nearest(times, t, TOLERANCE_NS)
    after = int(np.searchsorted(times, t))
    if after in (0, len(times)):
        return None if close is None else poses[close]
    if times[after] - times[after - 1] > LONGEST_GAP_NS:
        return None if close is None else poses[close]
    ends = poses[after - 1 : after + 1]
    share = (t - times[after - 1]) / (times[after] - times[after - 1])
    out = np.eye(4)
    out[:3, :3] = Slerp([0, 1], Rotation.from_matrix(ends[:, :3, :3]))(
        share
    ).as_matrix()
    out[:3, 3] = (1 - share) * ends[0, :3, 3] + share * ends[1, :3, 3]
    return out


def _objects(
    folder: pathlib.Path, uids: np.ndarray, category: np.ndarray, stamps: np.ndarray
) -> Source[Any]:
    """Poses and boxes at the times of the images, of the objects that have a box."""
    path = folder / "scene_objects.csv"
    table = read_table(path, POSE_COLUMNS)
    o2w = matrices(path, table, "t_wo_{}[m]", "q_wo_{}")
    boxes_path = folder / "3d_bounding_box.csv"
    columns = {"object_uid": int, "timestamp[ns]": int, **dict.fromkeys(EXTENT, float)}
    boxes = read_table(boxes_path, columns)
    extents = np.stack([boxes[name] for name in EXTENT], -1).reshape(-1, 2, 3)
    if (extents[:, 0] > extents[:, 1]).any():
        raise UsageError(f"{boxes_path}: a box whose minimum is above its maximum")
    extent = dict(zip(boxes["object_uid"].tolist(), extents, strict=True))
    rank = {uid: i for i, uid in enumerate(uids.tolist()) if uid in extent}
    named = np.asarray([uid in rank for uid in table["object_uid"].tolist()], bool)
    moving = rows_by_time(np.where(named, table["timestamp[ns]"], -2))
    moving.pop(-2, None)
    still = moving.pop(-1, np.zeros(0, np.int64))
    times = np.asarray(sorted(moving), np.int64)

    def read(t: int) -> Objects:
        at = nearest(times, int(stamps[t]), TOLERANCE_NS)
        now = np.zeros(0, np.int64) if at is None else moving[int(times[at])]
        rows = np.concatenate([now, still])
        order = np.asarray([rank[u] for u in table["object_uid"][rows].tolist()], int)
        rows, order = rows[np.argsort(order)], np.sort(order)
        pose = o2w[rows]
        box = np.stack([extent[u] for u in uids[order].tolist()]) if len(rows) else None
        box = np.zeros((0, 2, 3)) if box is None else box
        center = np.einsum("nij,nj->ni", pose[:, :3, :3], box.mean(1)) + pose[:, :3, 3]
        return Objects(order + 1, category[order], center, pose, box)

    return Source(read, len(stamps))
