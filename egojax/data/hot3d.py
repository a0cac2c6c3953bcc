"""HOT3D recordings (Aria or Quest 3), the official layout read in place.

    FOLDER/dynamic_objects.csv      poses of the objects, metres, object to world
    FOLDER/headset_trajectory.csv   poses of the headset, device to world
    FOLDER/box2d_objects.csv        amodal 2D boxes a stream, with visible share
    FOLDER/instance.json            names of the objects
    FOLDER/metadata.json            headset, recording name
    FOLDER/masks/*.csv              which frames are good, a stream and time each

Images and camera calibration are not among these files, so the clip has neither frames
nor cameras: it has boxes and true 3D states, for box metrics and motion statistics.

Source: https://github.com/facebookresearch/hot3d (file formats).
"""

import pathlib
from typing import Any

import numpy as np

from egojax.data import arrays
from egojax.data.csv_tables import frame_rate, matrices, read_table, rows_by_time
from egojax.errors import UsageError
from egojax.types import Boxes, Clip, Objects, Source

POSE_COLUMNS = {
    "object_uid": int,
    "timestamp[ns]": int,
    **{f"t_wo_{axis}[m]": float for axis in "xyz"},
    **{f"q_wo_{axis}": float for axis in "wxyz"},
}
BOX_EDGES = tuple(f"{name}[pixel]" for name in ("x_min", "y_min", "x_max", "y_max"))
BOX_COLUMNS = {
    "stream_id": str,
    "object_uid": int,
    "timestamp[ns]": int,
    **dict.fromkeys(BOX_EDGES, float),
    "visibility_ratio[%]": float,
}
# (height, width) by headset and kind of stream: 214 is colour, 1201 gray.
SIZES = {
    ("Aria", "214"): (1408, 1408),
    ("Aria", "1201"): (480, 640),
    ("Quest3", "1201"): (1024, 1280),
}


def is_recording(folder: pathlib.Path) -> bool:
    """Whether the folder has the files of a HOT3D recording."""
    names = ("dynamic_objects.csv", "box2d_objects.csv")
    return all((folder / name).is_file() for name in names)


def read_clip(folder: pathlib.Path, stream: str = "") -> Clip:
    """Reads one camera stream of a recording.

    Args:
      stream: As "214-1" or "1201-1"; empty takes the colour camera, else the first.

    Returns:
      A clip whose frames are the time stamps of the stream (`frame_ids`, ns). `boxes`
      and `truth.boxes` have visibility 0 and NaN edges where an object is out of view;
      `truth.objects` has poses in metres, ids are the official ones. `streams` holds
      "device_pose" (float64 (4, 4), device to world, or None) and the official masks
      as "mask_NAME" (bool, or None).

    Raises:
      UsageError: files are missing or malformed, or there is no such stream.
    """
    meta = _read_json(folder / "metadata.json", ("headset", "recording_name"))
    names = _read_instances(folder / "instance.json")
    boxes_path = folder / "box2d_objects.csv"
    boxes = read_table(boxes_path, BOX_COLUMNS, blank=BOX_EDGES)
    known = sorted(set(boxes["stream_id"].tolist()))
    if not known:
        raise UsageError(f"{boxes_path}: has no boxes")
    picked = stream or next((s for s in known if s.startswith("214")), known[0])
    if picked not in known:
        raise UsageError(
            f"{boxes_path}: no stream {picked}; there are {', '.join(known)}"
        )
    boxes = {k: v[boxes["stream_id"] == picked] for k, v in boxes.items()}
    _check_uids(boxes_path, boxes["object_uid"], names)
    masks = _read_masks(folder / "masks", picked)
    times = sorted(set(boxes["timestamp[ns]"].tolist()).union(*masks.values()))
    box_source = _boxes(boxes, times)
    objects = _objects(folder / "dynamic_objects.csv", names, times)
    device = _device_poses(folder / "headset_trajectory.csv", times)
    name = f"{meta['recording_name']}_{picked}"
    clip = Clip(
        name=name,
        frame_ids=tuple(map(str, times)),
        size_hw=_size(meta["headset"], picked),
        fps=frame_rate(times),
        category_names=tuple(names.values()),
        boxes=box_source,
        streams={"device_pose": device, **_mask_streams(masks, times)},
        notes=("no images and no camera calibration here: boxes and 3D states only",),
    )
    return clip.replace(truth=clip.replace(objects=objects, streams={}, notes=()))


def _read_json(path: pathlib.Path, fields: tuple[str, ...]) -> dict[str, Any]:
    found = arrays.read_json(path)
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected an object at the top")
    missing = [field for field in fields if not isinstance(found.get(field), str)]
    if missing:
        raise UsageError(f"{path}: no text for {', '.join(missing)}")
    return found


def _read_instances(path: pathlib.Path) -> dict[int, str]:
    """Name of each object, by uid, ascending."""
    found, names, problems = arrays.read_json(path), {}, []
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected an object with a member per instance")
    for uid, entry in found.items():
        name = entry.get("instance_name") if isinstance(entry, dict) else None
        if not (uid.isdecimal() and isinstance(name, str)):
            problems.append(f"{path}: {uid}: expected a number with an instance_name")
        else:
            names[int(uid)] = name
    if problems:
        raise UsageError.from_problems(problems)
    return dict(sorted(names.items()))


def _check_uids(path: pathlib.Path, uids: np.ndarray, names: dict[int, str]) -> None:
    unknown = sorted(set(uids.tolist()) - names.keys())
    if unknown:
        raise UsageError(
            f"{path}: objects that instance.json does not name: "
            f"{', '.join(map(str, unknown[:5]))}"
        )


def _read_masks(folder: pathlib.Path, stream: str) -> dict[str, dict[int, bool]]:
    """The quality masks of a stream: value by time stamp, by name."""
    masks = {}
    columns = {"timestamp[ns]": int, "stream_id": str, "mask": str}
    for path in sorted(folder.glob("mask_*.csv")):
        table = read_table(path, columns)
        bad = sorted(set(table["mask"].tolist()) - {"True", "False"})
        if bad:
            raise UsageError(f"{path}: mask is {bad[0]!r}; expected True or False")
        mine = table["stream_id"] == stream
        stamps = table["timestamp[ns]"][mine].tolist()
        values = (table["mask"][mine] == "True").tolist()
        masks[path.stem.removeprefix("mask_")] = dict(zip(stamps, values, strict=True))
    return masks


def _mask_streams(
    masks: dict[str, dict[int, bool]], times: list[int]
) -> dict[str, Source[Any]]:
    return {
        f"mask_{name}": Source.of([mask.get(t) for t in times])
        for name, mask in masks.items()
    }


def _boxes(table: dict[str, np.ndarray], times: list[int]) -> Source[Any]:
    rows = rows_by_time(table["timestamp[ns]"])
    xyxy = np.stack([table[edge] for edge in BOX_EDGES], -1)
    # The files give the first and the last pixel; outer corners lie one further.
    xyxy[:, 2:] += 1

    def read(t: int) -> Boxes:
        picked = rows.get(times[t], np.zeros(0, np.int64))
        share = table["visibility_ratio[%]"][picked]  # 0 to 1, whatever it is called.
        return Boxes(table["object_uid"][picked], xyxy[picked], share)

    return Source(read, len(times))


def _objects(
    path: pathlib.Path, names: dict[int, str], times: list[int]
) -> Source[Any]:
    table = read_table(path, POSE_COLUMNS)
    _check_uids(path, table["object_uid"], names)
    o2w = matrices(path, table, "t_wo_{}[m]", "q_wo_{}")
    rows = rows_by_time(table["timestamp[ns]"])
    category = {uid: index for index, uid in enumerate(names)}

    def read(t: int) -> Objects | None:
        picked = rows.get(times[t])
        if picked is None:
            return None
        ids = table["object_uid"][picked]
        kinds = np.asarray([category[uid] for uid in ids.tolist()], np.int32)
        return Objects(ids, kinds, o2w[picked, :3, 3], o2w[picked])

    return Source(read, len(times))


def _device_poses(path: pathlib.Path, times: list[int]) -> Source[Any]:
    table = read_table(path, POSE_COLUMNS)
    poses = matrices(path, table, "t_wo_{}[m]", "q_wo_{}")
    row = {stamp: i for i, stamp in enumerate(table["timestamp[ns]"].tolist())}
    found = [row.get(stamp) for stamp in times]
    return Source.of([None if i is None else poses[i] for i in found])


def _size(headset: str, stream: str) -> tuple[int, int]:
    known = SIZES.get((headset, stream.partition("-")[0]))
    if known is None:
        raise UsageError(
            f"stream {stream} of a {headset} headset: its image size is not known; "
            f"known are {', '.join(' '.join(key) for key in SIZES)}"
        )
    return known
