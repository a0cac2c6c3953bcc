"""Safe files: what is read is checked, what is written appears whole or not at all."""

import io
import json
import math
import os
import pathlib
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from egojax.errors import UsageError
from egojax.metrics.schema import to_json


def read_json(path: pathlib.Path | str) -> Any:
    """Reads a JSON file.

    Raises:
      UsageError: missing, or no JSON.
    """
    path = pathlib.Path(path)
    try:
        return json.loads(path.read_bytes())
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror}") from err
    except ValueError as err:
        raise UsageError(f"{path}: no JSON: {err}") from err


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
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            major, _ = np.lib.format.read_magic(file)
            head = "read_array_header_1_0" if major == 1 else "read_array_header_2_0"
            found, _, dtype = getattr(np.lib.format, head)(file)
            held = path.stat().st_size - file.tell()
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror or err}") from err
    except (ValueError, EOFError) as err:
        line = (str(err).splitlines() or ["empty"])[0]
        raise UsageError(f"{path}: not a readable npy file ({line})") from None
    if dtype.hasobject:
        raise UsageError(f"{path}: pickled objects; expected an array of numbers")
    if min(found, default=0) < 0 or math.prod(found) * dtype.itemsize > held:
        raise UsageError(f"{path}: announces {found} of {dtype}, holds {held} bytes")
    if dtype.kind not in kinds:
        raise UsageError(f"{path}: {dtype} values; expected a dtype of kind {kinds}")
    if shape is not None and not _fits(found, shape):
        want = ", ".join("any" if n is None else str(n) for n in shape)
        raise UsageError(f"{path}: shape {found}; expected ({want})")
    values = np.load(path, allow_pickle=False)
    if finite and not np.isfinite(values).all():
        raise UsageError(f"{path}: values that are not finite")
    return values.astype(dtype.newbyteorder("="), copy=False)


def _fits(found: tuple[int, ...], asked: tuple[int | None, ...]) -> bool:
    same = len(found) == len(asked)
    return same and all(b is None or a == b for a, b in zip(found, asked, strict=True))


def read_npz(path: pathlib.Path | str) -> dict[str, np.ndarray]:
    """Reads the arrays of an npz file; pickled objects are refused.

    Raises:
      UsageError: missing, truncated, or no npz.
    """
    path = pathlib.Path(path)
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UsageError(f"{path}: no such file, or not an npz file")
    try:
        with zipfile.ZipFile(path) as box:
            for member in box.infolist():
                with box.open(member) as file:
                    _check_header(file, member.file_size)
        with np.load(path, allow_pickle=False) as table:
            return {key: table[key] for key in table.files}
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror or err}") from err
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as err:
        raise UsageError(f"{path}: no readable npz: {err}") from err


def _check_header(file: Any, size: int) -> None:
    """Refuses an array that is larger than the file that should hold it."""
    major, _ = np.lib.format.read_magic(file)
    head = "read_array_header_1_0" if major == 1 else "read_array_header_2_0"
    shape, _, dtype = getattr(np.lib.format, head)(file)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{file.name} announces {shape} of {dtype} in {size} bytes")


def write_bytes(path: pathlib.Path | str, data: bytes) -> None:
    """Writes under a temporary name and renames; a full disk leaves the old file."""
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise


def write_json(path: pathlib.Path | str, value: Any) -> None:
    """Writes JSON; NaN becomes null."""
    write_bytes(path, (json.dumps(to_json(value), indent=1) + "\n").encode())


def write_npz(path: pathlib.Path | str, columns: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, compressed."""
    buffer = io.BytesIO()
    fields: dict[str, Any] = dict(columns)
    np.savez_compressed(buffer, **fields)
    write_bytes(path, buffer.getvalue())


def write_npy(path: pathlib.Path | str, values: np.ndarray) -> None:
    """Writes one array."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_text(path: pathlib.Path | str, text: str) -> None:
    """Writes text as UTF-8."""
    write_bytes(path, text.encode())
