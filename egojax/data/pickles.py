"""Pickled dictionaries of official releases, read without running anything in them.

A pickle names the functions that rebuild its objects. Here each of the few names that
arrays and plain containers need leads to code of this module, any other is refused; so
a hostile file can neither call a function nor reach NumPy's own state parsers. The
memory that a file takes is bounded by its size.
"""

import io
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from egojax.data.arrays import (
    first_line,
    members_of,
    npy_header,
    read_bytes,
    write_bytes,
)
from egojax.errors import UsageError

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
    data = read_bytes(path)
    file = io.BytesIO(data)
    try:
        shape, dtype = npy_header(file, len(data))
    except ValueError as err:
        raise UsageError(f"{path}: not a readable npy file ({err})") from None
    if shape != () or not dtype.hasobject:
        raise UsageError(f"{path}: {dtype} of shape {shape}; expected one dictionary")
    found = _load(path, data[file.tell() :])
    if isinstance(found, np.ndarray) and found.shape == ():
        found = found.item()
    if not isinstance(found, dict):
        raise UsageError(f"{path}: a {type(found).__name__}; expected a dictionary")
    return found


def write_npy_dict(path: pathlib.Path | str, table: Mapping[Any, np.ndarray]) -> None:
    """Writes a dictionary of arrays as official readers expect it: pickled."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(dict(table), object), allow_pickle=True)
    write_bytes(path, buffer.getvalue(), sync=False)


def read_pt(path: pathlib.Path | str, *, pass_over: bool = False) -> Any:
    """Reads a `.pt` file (zip form) or a plain pickle; tensors become arrays.

    Args:
      path: Of the file.
      pass_over: Do not refuse other objects, such as the callbacks in a checkpoint of a
        training framework: of each there is the dictionary of what it holds, or its
        name if it holds nothing. None of their code runs.

    Raises:
      UsageError: missing, truncated, or it holds other objects than tensors, arrays,
        numbers, texts and plain containers.
    """
    path = pathlib.Path(path)
    data = read_bytes(path)
    if not data.startswith(b"PK"):
        return _load(path, data, pass_over=pass_over)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = [name for name in members_of(archive) if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("no data.pkl in it")
        pickled = archive.read(names[0])
    except Exception as err:  # Every way in which a damaged archive fails.
        raise UsageError(
            f"{path}: not a readable .pt file ({first_line(err)})"
        ) from None
    stem = names[0].removesuffix("data.pkl")
    with archive:
        return _load(
            path, pickled, lambda key: archive.read(f"{stem}data/{key}"), pass_over
        )


def _load(
    path: pathlib.Path,
    data: bytes,
    storage: Callable[[str], bytes] | None = None,
    pass_over: bool = False,
) -> Any:
    try:
        return _plain(_Unpickler(data, storage, pass_over).load(), {})
    except Exception as err:  # A damaged pickle fails in every way that Python has.
        raise UsageError(f"{path}: not a readable pickle ({first_line(err)})") from None


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
            return _objects(data).reshape(shape)
        dtype = np.dtype(self.order + self.name)
        if min(shape, default=0) < 0 or count * dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for the shape {shape} of {dtype}")
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def _objects(items: Any) -> np.ndarray:
    """A flat array of objects, whatever they are: NumPy would stack arrays."""
    out = np.empty(len(items), object)
    for i, item in enumerate(items):
        out[i] = item
    return out


class _Array:
    """Stands for numpy.ndarray until its state arrives."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        flat = dtype.array(data, tuple(shape))
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _Storage(str):
    """Stands for a class of torch storages."""


class _Other:
    """Stands for an object of any other class: the items and the state it is given."""

    held: dict[Any, Any]

    def __new__(cls, *_: Any, **__: Any) -> "_Other":
        made = super().__new__(cls)
        made.held = {}  # Not in __init__, which not every pickle calls.
        return made

    def __init__(self, *_: Any, **__: Any):
        """Takes what its class would take."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.held.update(state)

    def __setitem__(self, key: Any, item: Any) -> None:
        self.held[key] = item

    def append(self, item: Any) -> None:
        self.held[len(self.held)] = item


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
    inside = min((offset, *size, *stride)) >= 0 and last < len(storage)
    if not inside or math.prod(size) > len(storage):
        raise ValueError(f"a tensor of shape {tuple(size)} beyond its storage")
    steps = [s * storage.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps)


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch", "Size"): tuple,
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

# Opcodes that such files do not have, and that reserve memory or reach past the file.
REFUSED = (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
REFUSED += (pickle.EXT1, pickle.EXT2, pickle.EXT4)


class _Unpickler(pickle._Unpickler):
    """The unpickler that is written in Python: its memo grows with what it holds.

    The one in C keeps a table up to the largest index that the file names.
    """

    def __init__(
        self, data: bytes, storage: Callable[[str], bytes] | None, pass_over: bool
    ):
        super().__init__(io.BytesIO(data))
        self._storage, self._pass_over = storage, pass_over
        self._loaded: dict[str, bytes] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            if self._pass_over:
                return type(f"{module}.{name}", (_Other,), {})
            raise ValueError(f"it asks for {module}.{name}, which is refused")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, storage, key, _, count = pid
        if kind != "storage" or self._storage is None:
            raise ValueError("a reference to something outside the file")
        if key not in self._loaded:
            self._loaded[key] = self._storage(key)
        data, dtype = self._loaded[key], np.dtype(STORAGES[storage])
        if len(data) != count * dtype.itemsize:
            raise ValueError(f"storage {key}: {len(data)} bytes for {count} {dtype}")
        return np.frombuffer(data, dtype)

    def load_state(self) -> None:
        """Hands an object its state; nothing but our stand-ins can be changed by it."""
        stack: list[Any] = self.stack  # pyrefly: ignore[missing-attribute]
        state, target = stack.pop(), stack[-1]
        if isinstance(target, _Array | _Dtype | _Other):
            target.__setstate__(state)
        elif not isinstance(target, dict):  # torch's versions of modules: not needed.
            raise ValueError(f"a state for {type(target).__name__}")

    def refuse(self) -> None:
        raise ValueError("an opcode that is refused")

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_state,
        **dict.fromkeys((opcode[0] for opcode in REFUSED), refuse),
    }


PLAIN = (str, bytes, bool, int, float, complex, type(None), np.generic, np.ndarray)


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """The value with arrays in place of their stand-ins.

    Args:
      done: By identity, what was made of the containers so far: a few bytes may name
        one of them any number of times.
    """
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without values")
        found: Any = value.value
        if found.dtype == object:
            items = [_plain(item, done) for item in found.flat]
            found = _objects(items).reshape(found.shape)
    elif isinstance(value, type) and issubclass(value, _Other):
        return value.__name__
    elif isinstance(value, _Other) and not value.held:
        return type(value).__name__
    elif isinstance(value, dict | _Other):
        items = value.held if isinstance(value, _Other) else value
        found = {_plain(k, done): _plain(item, done) for k, item in items.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        found = type(value)(_plain(item, done) for item in value)
    elif isinstance(value, PLAIN) and not isinstance(value, _Storage):
        return value
    else:
        raise ValueError(f"a {type(value).__name__} in it")
    done[id(value)] = found
    return found
