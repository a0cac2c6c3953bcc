"""Safe files: what is read is checked, what is written appears whole or not at all."""

import io
import json
import os
import pathlib
import tempfile
import zipfile
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


def read_npz(path: pathlib.Path | str) -> dict[str, np.ndarray]:
    """Reads the arrays of an npz file; pickled objects are refused.

    Raises:
      UsageError: missing, truncated, or no npz.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as table:
            return {key: table[key] for key in table.files}
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror or err}") from err
    except (ValueError, EOFError, zipfile.BadZipFile) as err:
        raise UsageError(f"{path}: no readable npz: {err}") from err


def write_bytes(path: pathlib.Path | str, data: bytes) -> None:
    """Writes under a temporary name and renames; a full disk leaves the old file."""
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
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
    np.savez_compressed(buffer, **columns)
    write_bytes(path, buffer.getvalue())
