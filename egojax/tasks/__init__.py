"""Jobs: tie a method to the launcher and the training loop."""

import pathlib
from typing import Any

from egojax.errors import UsageError
from egojax.task import Task
from egojax.tasks import decomposition, motion_seg, tracking

JOBS = {
    "tracking": tracking.make,
    "decomposition": decomposition.make,
    "motion_seg": motion_seg.make,
}


def make(config: Any, mode: str, folder: pathlib.Path) -> Task:
    """Returns the job that a config asks for.

    Args:
      config: ConfigDict; it is read here and goes no further down.
      mode: As on the command line.
      folder: The run folder, for what a job keeps besides its clips.

    Raises:
      UsageError: no such job, or a field that the job does not understand.
    """
    if config.job not in JOBS:
        raise UsageError(f"config.job={config.job}: there are {', '.join(JOBS)}")
    if config.seed < 0:
        raise UsageError(f"config.seed={config.seed}: below 0")
    return JOBS[config.job](config, mode, folder)
