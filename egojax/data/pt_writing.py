"""`.pt` files as torch writes them, without torch: a zip of one pickle and raw arrays.

Only plain values go in, so that `torch.load(path, weights_only=True)` takes the file.
"""

import io
import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from egojax.data.arrays import write_bytes
from egojax.data.pickles import STORAGES

STEM = "archive"  # The folder in the zip; torch takes any.
CLASSES = {np.dtype(dtype): name for name, dtype in STORAGES.items()}


def write_pt(path: pathlib.Path | str, value: Any) -> None:
    """Writes arrays, numbers, texts, dictionaries, lists and tuples of them.

    Raises:
      ValueError: something else is in it, or an array of a dtype that torch lacks.
    """
    writer = _Writer()
    writer.put(value)
    buffer = io.BytesIO()
    # Stored, not deflated: torch reads no other.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as box:
        box.writestr(f"{STEM}/data.pkl", b"\x80\x02" + b"".join(writer.parts) + b".")
        box.writestr(f"{STEM}/byteorder", b"little")
        for key, data in enumerate(writer.arrays):
            box.writestr(f"{STEM}/data/{key}", data)
        box.writestr(f"{STEM}/version", b"3\n")
    write_bytes(path, buffer.getvalue(), sync=False)


class _Writer:
    """The opcodes of a pickle of protocol 2, and the bytes of its arrays."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.arrays: list[bytes] = []

    def put(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, Mapping):
            items = [part for item in value.items() for part in item]
            self._series(b"}(", items, b"u")
        elif isinstance(value, list):
            self._series(b"](", value, b"e")
        elif isinstance(value, tuple):
            self._series(b"(", value, b"t")
        else:
            self.parts.append(_plain(value))

    def _series(self, start: bytes, items: Any, end: bytes) -> None:
        self.parts.append(start)
        for item in items:
            self.put(item)
        self.parts.append(end)

    def _array(self, value: np.ndarray) -> None:
        """The call that makes a tensor: storage, offset, shape, strides."""
        dtype = value.dtype.newbyteorder("<")
        if dtype not in CLASSES:
            raise ValueError(f"torch has no arrays of {value.dtype}")
        data = np.asarray(value, dtype, order="C")
        strides = tuple(s // data.itemsize for s in data.strides)
        self.parts.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.parts.append(_plain("storage"))
        self.parts.append(f"ctorch\n{CLASSES[dtype]}\n".encode())
        for part in (str(len(self.arrays)), "cpu", data.size):
            self.parts.append(_plain(part))
        self.parts.append(b"tQ")
        for part in (0, value.shape, strides, False):
            self.put(part)
        self.parts.append(b"ccollections\nOrderedDict\n)RtR")
        self.arrays.append(data.tobytes())


def _plain(value: Any) -> bytes:
    """The opcode that pushes a number, a text, True, False or None."""
    if value is None:
        return b"N"
    if isinstance(value, bool | np.bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int | np.integer):
        size = (int(value).bit_length() + 8) // 8
        return (
            b"\x8a" + bytes([size]) + int(value).to_bytes(size, "little", signed=True)
        )
    if isinstance(value, float | np.floating):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    raise ValueError(f"a {type(value).__name__} has no place in a .pt file")
