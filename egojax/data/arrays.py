"""Safe files: what is read is checked, what is written appears whole or not at all."""

import io
import json
import math
import os
import pathlib
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from egojax.errors import UsageError
from egojax.metrics.schema import to_json

MAX_BYTES = 1 << 31  # Of what one archive or array of a file may unpack to.
MAX_DEFLATE = 1032  # No deflated byte becomes more bytes than that.


# ----------------------------------------------------------------------- reading


def read_bytes(path: pathlib.Path | str) -> bytes:
    """Reads a regular file: a pipe or a device might never end.

    Raises:
      UsageError: missing, no regular file, or unreadable.
    """
    with open_file(path) as file:
        return file.read()


def open_file(path: pathlib.Path | str) -> IO[bytes]:
    """Opens a regular file for reading.

    Raises:
      UsageError: as `read_bytes`.
    """
    path = pathlib.Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: not a regular file")
        return path.open("rb")
    except (OSError, ValueError) as err:  # ValueError: a NUL in the name.
        reason = getattr(err, "strerror", None) or first_line(err)
        raise UsageError(f"{path}: cannot be read: {reason}") from None


def read_json(path: pathlib.Path | str) -> Any:
    """Reads a JSON file. A key that an object has twice is refused.

    Raises:
      UsageError: missing, or no JSON.
    """
    try:
        return json.loads(read_bytes(path), object_pairs_hook=_object)
    except (ValueError, RecursionError) as err:
        raise UsageError(f"{path}: no JSON: {first_line(err)}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def frame_name(given: Any) -> str:
    """The frame that a file names: "frame_01" for "frame_01.jpg" or "cam/frame_01.jpg".

    Raises:
      ValueError: no text, absolute, or a path that leaves its folder.
    """
    if not isinstance(given, str) or not given.isprintable():
        raise ValueError(f"{given!r:.80} is no file name")
    path = pathlib.PurePosixPath(given.replace("\\", "/"))
    drive = given[1:2] == ":"  # As "C:a.jpg" of another system.
    if path.is_absolute() or drive or ".." in path.parts or not path.stem:
        raise ValueError(f"{given!r:.80} is not a file name inside its folder")
    return path.stem


def read_npy(
    path: pathlib.Path | str,
    shape: tuple[int | None, ...] | None = None,
    kinds: str = "biuf",
    finite: bool = False,
) -> np.ndarray:
    """Reads an npy file; a header that announces more than the file holds is refused.

    Args:
      shape: What it must be, None for any length; None = any shape.
      kinds: NumPy kinds of dtype that are welcome.
      finite: Whether NaN and infinities are refused.

    Returns:
      The array in the byte order of this machine.

    Raises:
      UsageError: missing, truncated, pickled, or not as asked for.
    """
    with open_file(path) as file:
        try:
            found, dtype = npy_header(file, os.fstat(file.fileno()).st_size)
        except ValueError as err:
            raise UsageError(f"{path}: not a readable npy file ({err})") from None
        if dtype.hasobject:
            raise UsageError(f"{path}: pickled objects; expected an array of numbers")
        if dtype.kind not in kinds:
            raise UsageError(
                f"{path}: {dtype} values; expected a dtype of kind {kinds}"
            )
        if shape is not None and not _fits(found, shape):
            want = ", ".join("any" if n is None else str(n) for n in shape)
            raise UsageError(f"{path}: shape {found}; expected ({want})")
        file.seek(0)
        try:
            values = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError) as err:
            why = first_line(err)
            raise UsageError(f"{path}: not a readable npy file ({why})") from None
    if finite and not np.isfinite(values).all():
        raise UsageError(f"{path}: values that are not finite")
    return values.astype(dtype.newbyteorder("="), copy=False)


def npy_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that an npy file of `size` bytes announces.

    Raises:
      ValueError: damaged, or it announces more than it can hold.
    """
    try:
        major, _ = np.lib.format.read_magic(file)
        head = "read_array_header_1_0" if major == 1 else "read_array_header_2_0"
        shape, _, dtype = getattr(np.lib.format, head)(file)
    except Exception as err:  # NumPy parses it as Python text, which fails in any way.
        raise ValueError(first_line(err)) from None
    bare = dtype.hasobject  # A pickle follows, of any length.
    if min(shape, default=0) < 0 or (
        not bare and math.prod(shape) * dtype.itemsize > size - file.tell()
    ):
        raise ValueError(f"announces {shape} of {dtype} in {size} bytes")
    return shape, dtype


def _fits(found: tuple[int, ...], asked: tuple[int | None, ...]) -> bool:
    same = len(found) == len(asked)
    return same and all(b is None or a == b for a, b in zip(found, asked, strict=True))


def read_npz(path: pathlib.Path | str) -> dict[str, np.ndarray]:
    """Reads the arrays of an npz file; pickled objects are refused.

    Raises:
      UsageError: missing, truncated, or no npz.
    """
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as box:
            members = members_of(box)
            return {
                name.removesuffix(".npy"): _read_member(box, member)
                for name, member in members.items()
            }
    except Exception as err:  # Every way in which a damaged archive fails.
        raise UsageError(f"{path}: no readable npz: {first_line(err)}") from None


def members_of(box: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What an archive holds, by name.

    Raises:
      ValueError: a name is there twice, or it announces more than it can hold.
    """
    found = box.infolist()
    members = {member.filename: member for member in found}
    if len(members) < len(found):
        raise ValueError("a name is there twice")
    for name, member in members.items():
        if member.file_size > MAX_DEFLATE * (member.compress_size + 1):
            raise ValueError(f"{name} announces {member.file_size} bytes")
    if sum(member.file_size for member in found) > MAX_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
    return members


def _read_member(box: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with box.open(member) as file:
        npy_header(file, member.file_size)
    with box.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def first_line(err: BaseException) -> str:
    """What an error says, on one line."""
    lines = str(err).strip().splitlines()
    return lines[0][:160] if lines else type(err).__name__


# ----------------------------------------------------------------------- writing


def make_folder(path: pathlib.Path) -> None:
    """Makes a folder, and those above it, if it is not there.

    Raises:
      UsageError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"{path}: cannot be made: {err.strerror}") from None


def write_bytes(path: pathlib.Path | str, data: bytes, sync: bool = True) -> None:
    """Writes under a temporary name and renames; a full disk leaves the old file.

    Args:
      sync: Wait for the disk, or a power cut may leave an empty file. That takes
        milliseconds: layers of single frames, which are many, do without.

    Raises:
      UsageError: the disk is full, or the folder cannot be written to.
    """
    path = pathlib.Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            pathlib.Path(name).unlink(missing_ok=True)
            raise
    except OSError as err:
        raise UsageError(f"{path}: cannot be written: {err.strerror}") from None


def write_json(path: pathlib.Path | str, value: Any, indent: int | None = 1) -> None:
    """Writes JSON; NaN becomes null.

    Args:
      indent: None = all on one line, ten times as fast: for long tables.
    """
    write_bytes(path, (json.dumps(to_json(value), indent=indent) + "\n").encode())


def write_npz(path: pathlib.Path | str, columns: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, compressed."""
    buffer = io.BytesIO()
    fields: dict[str, Any] = dict(columns)
    np.savez_compressed(buffer, **fields)
    write_bytes(path, buffer.getvalue())


def write_npy(path: pathlib.Path | str, values: np.ndarray) -> None:
    """Writes one array, a layer of a frame."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(path, buffer.getvalue(), sync=False)


def write_text(path: pathlib.Path | str, text: str) -> None:
    """Writes text as UTF-8."""
    write_bytes(path, text.encode())
