"""The frames of a clip in one array, in memory or in a file."""

import pathlib
import tempfile
from typing import IO, Any

import numpy as np

from egojax.data import arrays
from egojax.errors import UsageError


class FrameStack:
    """Frames of one size and kind, put one on another as they are read.

    In memory the array is made once, for all frames: none of them is there twice. In a
    file it takes what memory the system has to spare. The file has no name: its room on
    the disk is free again as soon as nothing holds the array, however the process ends.
    A stack is closed at the end of its `with`; its array lives on.
    """

    def __init__(self, most: int, folder: pathlib.Path | None = None):
        """Holds nothing yet.

        Args:
          most: Frames that may come.
          folder: Of the file, made if it is not there; None = memory.
        """
        self._most, self._folder = most, folder
        self._count, self._last = 0, np.empty(0)
        self._array: np.ndarray | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "FrameStack":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, frame: np.ndarray) -> None:
        """Adds a frame.

        Raises:
          UsageError: it is not like those before it, or the disk is full.
          IndexError: more frames come than may.
        """
        if self._count == self._most:
            raise IndexError(f"a stack of {self._most} frames is full")
        if not self._count:
            self._start(frame)
        elif (frame.shape, frame.dtype) != (self._last.shape, self._last.dtype):
            raise UsageError(
                f"frame {self._count} is {_kind(frame)}, those before it "
                f"{_kind(self._last)}; frames of a field need one size"
            )
        if self._array is not None:
            self._array[self._count] = frame
        else:
            self._write(frame)
        self._last = frame
        self._count += 1

    def _start(self, first: np.ndarray) -> None:
        if self._folder is None:
            self._array = np.empty((self._most, *first.shape), first.dtype)
            return
        arrays.make_folder(self._folder)
        try:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 (__exit__ closes it)
                dir=self._folder, buffering=0
            )
        except OSError as err:
            raise self._fault(err) from None

    def _write(self, frame: np.ndarray) -> None:
        """Not through a map of the file: there a full disk kills the process."""
        assert self._file is not None
        left = np.ascontiguousarray(frame).data.cast("B")
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as err:
            raise self._fault(err) from None

    def _fault(self, err: OSError) -> UsageError:
        return UsageError(
            f"{self._folder}: frames cannot be written: {err.strerror} (frame "
            f"{self._count} of {self._most})"
        )

    def array(self) -> np.ndarray:
        """All frames, (T, ...); of a file, a map of it that cannot be written to.

        Raises:
          ValueError: there are none.
        """
        if not self._count:
            raise ValueError("a stack without frames is no array")
        if self._file is None:
            assert self._array is not None
            return self._array[: self._count]
        shape = self._count, *self._last.shape
        return np.memmap(self._file, self._last.dtype, "r", shape=shape)


def _kind(frame: np.ndarray) -> str:
    return f"{frame.dtype} {frame.shape}"
