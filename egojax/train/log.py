"""What training tells: one JSON line an event, and the same numbers for TensorBoard.

Lines go to DIR/log.jsonl, the log of the whole run; those of training have the event
"train" and a step. A resumed run first takes back the lines behind its checkpoint, so
that the log reads as if the run had never stopped.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from types import TracebackType

from tensorboardX import SummaryWriter

from egojax.data.runs import append_event

EVENT = "train"


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
        if self._board is None:
            return
        append_event(self._path, EVENT, step=step, **values)
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
    return row.get("event") == EVENT and row.get("step", 0) > step
