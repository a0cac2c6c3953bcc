"""What training tells: one JSON line an event, and the same numbers for TensorBoard.

Lines go to DIR/log.jsonl, the log of the whole run; those of training have the event
"train" or "evaluate", and a step. Pictures are for TensorBoard alone. A resumed run
first takes back the lines behind its checkpoint, so that the log reads as if the run
had never stopped.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple

import numpy as np
from tensorboardX import SummaryWriter

from egojax.data.runs import append_event

TRAIN, EVALUATE = EVENTS = "train", "evaluate"


class Evaluation(NamedTuple):
    """What a model that is learning does on what it does not learn from."""

    values: Mapping[str, float]
    images: Mapping[str, np.ndarray]  # By name: uint8 (H, W, 3).


class TrainLog:
    """Writes the numbers of training; use it in a `with` block."""

    def __init__(
        self, folder: pathlib.Path, first_step: int = 0, *, writes: bool = True
    ):
        """Opens the log of a run that goes on after `first_step` steps.

        Args:
          folder: Of the run.
          first_step: What was logged of later ones is taken back.
          writes: False in all processes but one: they keep no log.
        """
        self._board = None
        if not writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        _take_back(self._path, first_step)
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=first_step + 1
        )

    def __enter__(self) -> "TrainLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the numbers of the steps up to `step`."""
        self._write(TRAIN, step, values)

    def evaluated(self, step: int, found: Evaluation) -> None:
        """Logs how good the model is after `step`."""
        self._write(EVALUATE, step, found.values)
        if self._board is not None:
            for name, image in found.images.items():
                self._board.add_image(name, image, step, dataformats="HWC")
            self._board.flush()

    def _write(self, event: str, step: int, values: Mapping[str, float]) -> None:
        if self._board is None:
            return
        append_event(self._path, event, step=step, **values)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()


def _parse(line: str) -> dict:
    """A line, or nothing if the run was killed while it wrote the line."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return row if isinstance(row, dict) else {}


def _take_back(path: pathlib.Path, first_step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not _is_after(_parse(line), first_step)]
    if kept and not kept[-1].endswith("\n"):
        kept.pop()
    if kept != lines:
        new = path.with_name(path.name + ".new")
        new.write_text("".join(kept), encoding="utf-8")
        os.replace(new, path)


def _is_after(row: dict, step: int) -> bool:
    return row.get("event") in EVENTS and row.get("step", 0) > step
