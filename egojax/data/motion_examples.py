"""A clip with its motion as a data set of one file: image, flow, tracks by frame.

    FOLDER/motion_frames/1.0.0/    array records, as tensorflow-datasets keeps them
    FOLDER/index.json              names, sizes and rate of the frames

It holds what training reads of a clip, ready to be taken elsewhere: a few files in
place of some for every frame. Records can be read in any order and from several
processes. It takes the extra `data`; TensorFlow is not needed.

Flow and tracks are kept in the steps of `flow_files` and `point_files`, so they come
back as those have them.
"""

import contextlib
import functools
import io
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from egojax.data import arrays, flow_files, point_files
from egojax.data.images import MAX_PIXELS
from egojax.data.values import is_int, is_number
from egojax.errors import FrameError, UsageError
from egojax.types import Clip, PointTracks, SkippedFrame, Source

INDEX, SPLIT, VERSION = "index.json", "train", 1
FOLDER = "examples"  # Of a set, in the folder of its clip in a run.


class MotionExample(NamedTuple):
    """What is known of a frame."""

    image: np.ndarray | None  # uint8 (H, W, 3); None = it cannot be read.
    flows: Mapping[int, np.ndarray]  # By gap: float32 (h, w, 2), of one size.
    count: np.ndarray  # int32 (N,), frames that each track lasts that begins here.
    xy: np.ndarray  # float32 (count.sum(), 2), pixels, track after track.


def beginnings(tracks: PointTracks, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` and `xy` of the tracks that begin in a frame; see `MotionExample`."""
    here = tracks.first == frame
    return tracks.count[here], tracks.xy[np.repeat(here, tracks.count)]


def write_examples(
    folder: pathlib.Path | str,
    frame_ids: Sequence[str],
    size_hw: tuple[int, int],
    fps: float,
    examples: Iterable[MotionExample],
) -> None:
    """Writes a set; what was left of one that was not finished goes.

    Args:
      folder: Where there is no set yet.
      frame_ids: Names of the frames, in their order.
      size_hw: Of the images that tracks are of.
      fps: Frames a second.
      examples: One for each frame; read one at a time.

    Raises:
      UsageError: a set is there already, the extra is missing, or the folder cannot be
        written to.
      ValueError: an example's parts are no such, or they are as many as no such clip
        has.
    """
    folder = pathlib.Path(folder)
    kind = _kind(folder)
    if (folder / INDEX).exists():
        raise UsageError(f"{folder}: a set is there already; remove it first")
    if (folder / kind.name).exists():
        shutil.rmtree(folder / kind.name)
    arrays.make_folder(folder)
    steps = point_files.steps_per_pixel(size_hw)
    rows = (
        (name, _row(name, example, steps))
        for name, example in zip(frame_ids, examples, strict=True)
    )
    builder = kind(data_dir=str(folder), file_format="array_record", rows=rows)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # It reports what it does.
            builder.download_and_prepare()
    except OSError as err:
        reason = err.strerror or arrays.first_line(err)
        raise UsageError(f"{folder}: cannot be written: {reason}") from None
    about = {
        "version": VERSION,
        "frames": [*frame_ids],
        "size": [*size_hw],
        "fps": fps,
        "steps": steps,
    }
    arrays.write_json(folder / INDEX, about, indent=None)


class ExampleSet:
    """The frames of a set, by position; may be pickled."""

    def __init__(self, folder: pathlib.Path | str):
        """Opens a set.

        Raises:
          UsageError: no such set, the extra is missing, or it is not whole.
        """
        self.folder = pathlib.Path(folder)
        path = self.folder / INDEX
        about = arrays.read_json(path)
        problem = _problem(about)
        if problem:
            raise UsageError(f"{path}: {problem}")
        self.frame_ids = tuple(about["frames"])
        self.size_hw: tuple[int, int] = (about["size"][0], about["size"][1])
        self.fps, self._steps = float(about["fps"]), about["steps"]
        kind = _kind(self.folder)
        try:
            builder = kind(data_dir=str(self.folder), file_format="array_record")
            self._source = builder.as_data_source(split=SPLIT)
            count = len(self._source)
        except Exception as err:  # Every way in which files of another tool fail.
            reason = arrays.first_line(err)
            raise UsageError(f"{self.folder}: no readable set: {reason}") from None
        if count != len(self):
            raise UsageError(f"{path}: {len(self)} frames of {count} records")

    def __reduce__(self) -> tuple[Any, ...]:
        return ExampleSet, (self.folder,)  # Opened anew.

    def __len__(self) -> int:
        return len(self.frame_ids)

    def __getitem__(self, position: int) -> MotionExample:
        """Reads a frame.

        Raises:
          IndexError: there is no such position.
          FrameError: the record is damaged.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"frame {position} of {len(self)}")
        where = f"{self.folder}, frame {self.frame_ids[position]}"
        try:
            row = self._source[position]
        except Exception as err:  # As above.
            raise FrameError(f"{where}: {arrays.first_line(err)}") from None
        count, places = np.asarray(row["count"]), np.asarray(row["places"])
        if (count < 1).any() or len(places) != count.sum():
            raise FrameError(f"{where}: tracks that do not agree with their places")
        flows = zip(row["gaps"].tolist(), row["flows"], strict=True)
        return MotionExample(
            np.asarray(row["image"]) if row["has_image"] else None,
            {gap: flow_files.from_steps(flow) for gap, flow in flows},
            count,
            places.astype(np.float32) / np.float32(self._steps),
        )

    def clip(self, name: str) -> Clip:
        """The clip that it was made of: its images, read as they are asked for."""
        frames = Source(self._image, len(self))
        return Clip(name, self.frame_ids, self.size_hw, self.fps, frames=frames)

    def _image(self, t: int) -> np.ndarray:
        image = self[t].image
        if image is None:
            raise FrameError(f"{self.folder}: no image of {self.frame_ids[t]}")
        if image.shape[:2] != self.size_hw:
            raise FrameError(
                f"{self.folder}, frame {self.frame_ids[t]}: {image.shape[1]} x "
                f"{image.shape[0]} pixels; others have {self.size_hw[1]} x "
                f"{self.size_hw[0]}"
            )
        return image

    def tracks(self, num_frames: int) -> tuple[PointTracks, list[SkippedFrame]]:
        """The tracks of the first frames, and the frames of which none can be read."""
        first, count, xy = [], [], []
        skipped: list[SkippedFrame] = []
        for t in range(num_frames):
            try:
                row = self[t]
            except FrameError as err:
                skipped.append(SkippedFrame(t, str(err)))
                continue
            kept = np.minimum(row.count, num_frames - t)
            age = np.arange(len(row.xy)) - np.repeat(
                np.cumsum(row.count) - row.count, row.count
            )
            first.append(np.full(len(kept), t, np.int32))
            count.append(kept.astype(np.int32))
            xy.append(row.xy[age < np.repeat(kept, row.count)])
        none = np.zeros(0, np.int32)
        joined = (np.concatenate([none, *first]), np.concatenate([none, *count]))
        places = np.concatenate([np.zeros((0, 2), np.float32), *xy])
        return PointTracks(*joined, places, self.size_hw), skipped


def find_sets(root: pathlib.Path | str) -> dict[str, pathlib.Path]:
    """The sets of a run folder, by the names of their clips; or the one that it is."""
    root = pathlib.Path(root)
    if (root / INDEX).is_file():
        home = root.resolve()
        return {home.parent.name if home.name == FOLDER else home.name: root}
    found = sorted(root.glob(f"clips/*/{FOLDER}/{INDEX}"))
    return {path.parents[1].name: path.parent for path in found}


def _problem(about: Any) -> str:
    """Why this is no index of a set; empty if it is."""
    fields = ("version", "frames", "size", "fps", "steps")
    if not isinstance(about, dict) or any(name not in about for name in fields):
        return f"no index of a set; expected {', '.join(fields)}"
    if about["version"] != VERSION:
        return f"version {about['version']!r:.20}; expected {VERSION}"
    names, size = about["frames"], about["size"]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        return "frames are no list of names"
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_int, size)):
        return f"size {size!r:.40}; expected height and width"
    if not 1 <= min(size) <= max(size) <= MAX_PIXELS:
        return f"size {size}; expected pixels"
    if not is_number(about["fps"]) or not about["fps"] > 0:
        return f"fps {about['fps']!r:.20}; expected more than 0"
    if not is_int(about["steps"]) or about["steps"] < 1:
        return f"steps {about['steps']!r:.20}; expected 1 or more in a pixel"
    return ""


def _row(name: str, example: MotionExample, steps: int) -> dict[str, Any]:
    image, has_image = example.image, example.image is not None
    if image is None:
        image = np.zeros((1, 1, 3), np.uint8)
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f"image {image.dtype} {image.shape}")
    # BGR, as OpenCV takes it; the record holds the bytes of a PNG.
    done, png = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    flows = [flow_files.to_steps(flow) for flow in example.flows.values()]
    if not done or len({flow.shape for flow in flows}) > 1:
        raise ValueError(f"{name}: flow of several sizes")
    if len(example.xy) != example.count.sum():
        raise ValueError(f"{name}: {len(example.xy)} places of tracks {example.count}")
    return {
        "image": io.BytesIO(png.tobytes()),
        "has_image": np.uint8(has_image),
        "gaps": np.array([*example.flows], np.int32),
        "flows": np.stack(flows) if flows else np.zeros((0, 0, 0, 2), np.int16),
        "count": example.count.astype(np.int32),
        "places": point_files.to_steps(example.xy, steps),
    }


# ------------------------------------------------------------- tensorflow-datasets


def _kind(folder: pathlib.Path) -> Any:
    try:
        return _builder()
    except ImportError:
        raise UsageError(
            f"{folder}: a set of examples needs the extra data: pip install "
            "'egojax[data]'"
        ) from None


@functools.cache  # The tool knows a class by its name, and takes each once.
def _builder() -> Any:
    import tensorflow_datasets as tfds  # pyrefly: ignore

    # No bars in a terminal that may be another's.
    tfds.disable_progress_bar()

    class MotionFrames(tfds.core.GeneratorBasedBuilder):
        """Frames with flow and tracks."""

        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # It need not look for files of its own beside our code.

        def __init__(self, *, rows: Iterable[Any] = (), **options: Any):
            self._rows = rows
            super().__init__(**options)

        def _info(self) -> Any:
            features = tfds.features.FeaturesDict(_features(tfds.features))
            return tfds.core.DatasetInfo(
                builder=self, features=features, disable_shuffling=True
            )

        def _split_generators(self, _: Any) -> dict[str, Any]:
            return {SPLIT: self._generate_examples(self._rows)}

        def _generate_examples(self, rows: Any) -> Iterator[Any]:
            yield from rows

    return MotionFrames


def _features(kinds: Any) -> dict[str, Any]:
    """What a record holds, as the tool has it described."""

    def packed(*shape: int | None) -> Any:
        return kinds.Tensor(shape=shape, dtype=np.int16, encoding="zlib")

    return {
        "image": kinds.Image(shape=(None, None, 3)),
        "has_image": kinds.Scalar(dtype=np.uint8),
        "gaps": kinds.Tensor(shape=(None,), dtype=np.int32),
        "flows": packed(None, None, None, 2),
        "count": kinds.Tensor(shape=(None,), dtype=np.int32),
        "places": packed(None, 2),
    }
