"""Training sets of motion segmentation as one data set: image, flow, tracks by frame.

    FOLDER/motion_frames/1.0.0/    array records, as tensorflow-datasets keeps them
    FOLDER/index.json              which clip and frame each record is of

A set holds what training reads of a data set, ready: reading a frame opens one file in
place of several and decodes nothing but its own record. Records can be read in any
order and from several processes. It takes the extra `data`; TensorFlow is not needed.

Flow is kept in 1/32 pixel, tracks as in `track_files`.
"""

import contextlib
import functools
import io
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from egojax.data import arrays, flow_files, track_files
from egojax.errors import FrameError, UsageError
from egojax.types import WindowTracks

INDEX = "index.json"
# In place of the columns of tracks, where a frame has none.
NO_TRACKS = {name: np.zeros((0,) * n) for name, (_, n) in track_files.FORM.items()}
NO_TRACKS["tracks"] = np.zeros((0, 0, 2))


class MotionExample(NamedTuple):
    """What is known of a frame."""

    clip: str
    frame: str  # Its name.
    image: np.ndarray  # uint8 (H, W, 3)
    flows: Mapping[int, np.ndarray]  # By gap: float32 (h, w, 2), of one size.
    tracks: WindowTracks | None


def write_examples(
    folder: pathlib.Path | str, splits: Mapping[str, Iterable[MotionExample]]
) -> None:
    """Writes a set.

    Args:
      folder: Where there is no set yet.
      splits: The frames by the name of the split, read one at a time.

    Raises:
      UsageError: a set is there already, the extra is missing, a frame comes twice, or
        the folder cannot be written to.
      ValueError: a split's name is no word, or a frame's parts are no such.
    """
    folder = pathlib.Path(folder)
    for name in splits:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name):
            raise ValueError(f"split {name!r}; expected a word such as train")
    kind = _kind(folder)
    if any((folder / part).exists() for part in (INDEX, kind.name)):
        raise UsageError(f"{folder}: a set is there already; remove it first")
    arrays.make_folder(folder)
    index: dict[str, list[tuple[str, str]]] = {name: [] for name in splits}
    builder = kind(
        data_dir=str(folder),
        file_format="array_record",
        rows={name: _rows(rows, index[name]) for name, rows in splits.items()},
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # It reports what it does.
            builder.download_and_prepare()
    except OSError as err:
        reason = err.strerror or arrays.first_line(err)
        raise UsageError(f"{folder}: cannot be written: {reason}") from None
    arrays.write_json(folder / INDEX, index, indent=None)


class ExampleSet:
    """The frames of a split of a set, by position; may be pickled."""

    def __init__(self, folder: pathlib.Path | str, split: str):
        """Opens a set.

        Raises:
          UsageError: no such set or split, the extra is missing, or it is not whole.
        """
        self.folder, self.split = pathlib.Path(folder), split
        path = self.folder / INDEX
        index = arrays.read_json(path)
        known = list(index) if isinstance(index, dict) else []
        if split not in known:
            raise UsageError(f"{path}: no split {split!r}; there are {known}")
        rows = index[split] if isinstance(index[split], list) else [index[split]]
        self.names = tuple(_name(path, row) for row in rows)
        kind = _kind(self.folder)
        try:
            builder = kind(data_dir=str(self.folder), file_format="array_record")
            self._source = builder.as_data_source(split=split)
            count = len(self._source)
        except Exception as err:  # Every way in which files of another tool fail.
            reason = arrays.first_line(err)
            raise UsageError(f"{self.folder}: no readable set: {reason}") from None
        if count != len(self.names):
            raise UsageError(f"{path}: {len(self.names)} frames of {count} records")

    def __reduce__(self) -> tuple[Any, ...]:
        return ExampleSet, (self.folder, self.split)  # Opened anew.

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, position: int) -> MotionExample:
        """Reads a frame.

        Raises:
          IndexError: there is no such position.
          FrameError: the record is damaged.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"frame {position} of {len(self)}")
        where = self.folder / "/".join(self.names[position])
        try:
            row = self._source[position]
        except Exception as err:  # As above.
            raise FrameError(f"{where}: {arrays.first_line(err)}") from None
        flows = zip(row["gaps"].tolist(), row["flows"], strict=True)
        columns = {name: np.asarray(row[name]) for name in track_files.FORM}
        some = len(columns["frames"]) > 0
        return MotionExample(
            *self.names[position],
            row["image"],
            {gap: flow_files.from_steps(flow) for gap, flow in flows},
            track_files.from_columns(where, columns) if some else None,
        )

    def positions(self) -> dict[tuple[str, str], int]:
        """Where each (clip, frame) is."""
        return {name: position for position, name in enumerate(self.names)}


def _name(path: pathlib.Path, row: Any) -> tuple[str, str]:
    if not isinstance(row, list) or [type(part) for part in row] != [str, str]:
        raise UsageError(f"{path}: {row!r:.60} is no clip and frame")
    return row[0], row[1]


def _rows(
    examples: Iterable[MotionExample], names: list[tuple[str, str]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of examples; `names` is told of each."""
    known = set()
    for example in examples:
        name = example.clip, example.frame
        if name in known:
            raise UsageError(f"{example.clip}: the frame {example.frame} comes twice")
        known.add(name)
        names.append(name)
        yield "/".join(name), _row(example)


def _row(example: MotionExample) -> dict[str, Any]:
    if example.image.dtype != np.uint8 or example.image.shape[2:] != (3,):
        raise ValueError(f"image {example.image.dtype} {example.image.shape}")
    # BGR, as OpenCV takes it; the record holds the bytes of a PNG.
    done, png = cv2.imencode(".png", np.ascontiguousarray(example.image[..., ::-1]))
    flows = [flow_files.to_steps(flow) for flow in example.flows.values()]
    if not done or len({flow.shape for flow in flows}) > 1:
        raise ValueError(f"{example.clip}/{example.frame}: flow of several sizes")
    tracks = example.tracks
    columns = NO_TRACKS if tracks is None else track_files.to_columns(tracks)
    return {
        "image": io.BytesIO(png.tobytes()),
        "gaps": np.array([*example.flows], np.int32),
        "flows": np.stack(flows) if flows else np.zeros((0, 0, 0, 2), np.int16),
        **{name: columns[name].astype(_dtype(name)) for name in track_files.FORM},
    }


def _dtype(name: str) -> Any:
    return {"tracks": np.int16, "visibility": np.uint8}.get(name, np.int32)


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

        def __init__(self, *, rows: Mapping[str, Any] | None = None, **options: Any):
            self._rows = rows or {}
            super().__init__(**options)

        def _info(self) -> Any:
            features = tfds.features.FeaturesDict(_features(tfds.features))
            return tfds.core.DatasetInfo(
                builder=self, features=features, disable_shuffling=True
            )

        def _split_generators(self, _: Any) -> dict[str, Any]:
            names = self._rows
            return {name: self._generate_examples(names[name]) for name in names}

        def _generate_examples(self, rows: Any) -> Iterator[Any]:
            yield from rows

    return MotionFrames


def _features(kinds: Any) -> dict[str, Any]:
    """What a record holds, as the tool has it described."""

    def packed(*shape: int | None, dtype: Any) -> Any:
        return kinds.Tensor(shape=shape, dtype=dtype, encoding="zlib")

    tracks = {
        name: kinds.Tensor(shape=(None,) * axes, dtype=_dtype(name))
        for name, (_, axes) in track_files.FORM.items()
    }
    return {
        **tracks,
        "tracks": packed(None, None, 2, dtype=np.int16),
        "visibility": packed(None, dtype=np.uint8),
        "image": kinds.Image(shape=(None, None, 3)),
        "gaps": kinds.Tensor(shape=(None,), dtype=np.int32),
        "flows": packed(None, None, None, 2, dtype=np.int16),
    }
