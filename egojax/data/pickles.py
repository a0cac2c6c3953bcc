"""Pickled dictionaries of official releases, read without running anything in them.

A pickle names the functions that rebuild its objects. Here each of the few names that
arrays and plain containers need leads to code of this module, any other is refused; so
a hostile file can neither call a function nor reach NumPy's own state parsers.
"""

import io
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from egojax.errors import UsageError

MAX_BYTES = 1 << 31  # Of one array: a file of a few bytes may announce any shape.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def read_npy_dict(path: pathlib.Path | str) -> dict[Any, Any]:
    """Reads a dictionary that `numpy.save` pickled, such as {label: (1, D) float32}.

    Raises:
      UsageError: missing, truncated, no such dictionary, or it holds other objects than
        arrays, numbers, texts and plain containers.
    """
    path = pathlib.Path(path)
    data = _read_bytes(path)
    if not data.startswith(b"\x93NUMPY"):
        raise UsageError(f"{path}: not an npy file")
    try:
        file = io.BytesIO(data)
        major, _ = np.lib.format.read_magic(file)
        head = "read_array_header_1_0" if major == 1 else "read_array_header_2_0"
        shape, _, dtype = getattr(np.lib.format, head)(file)
    except ValueError as err:
        raise UsageError(f"{path}: not a readable npy file ({_line(err)})") from None
    if shape != () or not dtype.hasobject:
        raise UsageError(f"{path}: {dtype} of shape {shape}; expected one dictionary")
    found = _load(path, data[file.tell() :])
    if isinstance(found, np.ndarray) and found.shape == ():
        found = found.item()
    if not isinstance(found, dict):
        raise UsageError(f"{path}: a {type(found).__name__}; expected a dictionary")
    return found


def read_pt(path: pathlib.Path | str) -> Any:
    """Reads a `.pt` file (zip form) or a plain pickle; tensors become arrays.

    Raises:
      UsageError: missing, truncated, or it holds other objects than tensors, arrays,
        numbers, texts and plain containers.
    """
    path = pathlib.Path(path)
    data = _read_bytes(path)
    if not data.startswith(b"PK"):
        return _load(path, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(names) != 1:
                raise UsageError(f"{path}: no data.pkl in it; not a .pt file")
            stem = names[0].removesuffix("data.pkl")
            sizes = {i.filename: i.file_size for i in archive.infolist()}
            if sum(sizes.values()) > MAX_BYTES:
                raise UsageError(f"{path}: announces {sum(sizes.values())} bytes")

            def storage(key: str) -> bytes:
                return archive.read(f"{stem}data/{key}")

            return _load(path, archive.read(names[0]), storage)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError) as err:
        raise UsageError(f"{path}: not a readable .pt file ({_line(err)})") from None


def _read_bytes(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror}") from None


def _load(
    path: pathlib.Path, data: bytes, storage: Callable[[str], bytes] | None = None
) -> Any:
    try:
        return _plain(_Unpickler(data, storage).load())
    except Exception as err:  # A damaged pickle fails in every way that Python has.
        raise UsageError(f"{path}: not a readable pickle ({_line(err)})") from None


def _line(err: Exception) -> str:
    return str(err).splitlines()[0][:160] if str(err) else type(err).__name__


# --------------------------------------------------------------------- stand-ins


class _Dtype:
    """Stands for numpy.dtype: numbers, or "O" for a list of objects."""

    def __init__(self, name: str, *_: Any):
        name = "O" if name == "O8" else name
        if name != "O" and np.dtype(name).kind not in "biuf":
            raise ValueError(f"arrays of {name}")
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")

    def array(self, data: Any, shape: tuple[int, ...]) -> np.ndarray:
        count = math.prod(shape)
        if self.name == "O":
            if len(data) != count:
                raise ValueError(f"{len(data)} objects for the shape {shape}")
            out = np.empty(count, object)
            out[:] = [_plain(item) for item in data]
            return out.reshape(shape)
        dtype = np.dtype(self.order + self.name)
        if min(shape, default=0) < 0 or count * dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for the shape {shape} of {dtype}")
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


class _Array:
    """Stands for numpy.ndarray until its state arrives."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        flat = dtype.array(data, tuple(shape))
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _Storage(str):
    """Stands for a class of torch storages."""


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return dtype.array(data, (1,))[0]


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":
        raise ValueError(f"codec {codec}")
    return text.encode("latin1")


def _tensor(
    storage: np.ndarray, offset: int, size: Any, stride: Any, *_: Any
) -> np.ndarray:
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    if min((offset, *size, *stride)) < 0 or last >= len(storage):
        raise ValueError(f"a tensor of shape {tuple(size)} beyond its storage")
    if math.prod(size) * storage.itemsize > MAX_BYTES:
        raise ValueError(f"a tensor of shape {tuple(size)} is too large")
    steps = [s * storage.itemsize for s in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps)
    return np.array(view)


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("collections", "defaultdict"): lambda *_: {},
    **{("torch", name): _Storage(name) for name in STORAGES},
    **{
        (f"numpy.{core}.multiarray", name): value
        for core in ("core", "_core")
        for name, value in (
            ("_reconstruct", lambda *_: _Array()),
            ("scalar", _scalar),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, storage: Callable[[str], bytes] | None):
        super().__init__(io.BytesIO(data))
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise ValueError(f"it asks for {module}.{name}, which is refused")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, storage, key, _, count = pid
        if kind != "storage" or self._storage is None:
            raise ValueError("a reference to something outside the file")
        data = self._storage(key)
        dtype = np.dtype(STORAGES[storage])
        if len(data) != count * dtype.itemsize:
            raise ValueError(f"storage {key}: {len(data)} bytes for {count} {dtype}")
        return np.frombuffer(data, dtype)


def _plain(value: Any) -> Any:
    """The value with arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without values")
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value
