"""Sections that the reports of all jobs have, and how they read numbers."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from egojax.apps import page
from egojax.apps.figures import escape
from egojax.data.values import flatten, is_number
from egojax.types import Clip, SkippedFrame

MOST_SKIPPED = 200  # Frames left out that are listed.


def number(value: Any) -> float:
    """A single number, NaN if there is none."""
    return float(value) if is_number(value) else math.nan


def skipped_section(clip: Clip, skipped: Sequence[tuple[str, SkippedFrame]]) -> str:
    """The frames that were left out, each with the stage that did and why."""
    if not skipped:
        return page.section("Frames left out", "None.", "")
    rows = [
        [
            escape(clip.frame_ids[frame.frame_idx]),
            f'<td class="text">{escape(stage)}</td>',
            f'<td class="wrap">{escape(frame.reason)}</td>',
        ]
        for stage, frame in skipped[:MOST_SKIPPED]
    ]
    lead = f"{len(skipped)} of {clip.num_frames}."
    if len(skipped) > MOST_SKIPPED:
        lead += f" The first {MOST_SKIPPED} are listed."
    heads = ["frame", '<th class="text">stage</th>', '<th class="text">why</th>']
    return page.section("Frames left out", lead, page.table(heads, rows))


def details_section(
    clip: Clip, config: Mapping[str, Any], machine: Mapping[str, Any], command: str
) -> str:
    """What the reader noted, the command that made the run, versions, the config.

    Args:
      config: As resolved.
      machine: As `runs.describe_machine` returns it.
      command: As it was typed; empty = not known.
    """
    body = "".join(f"<p>{escape(note)}</p>" for note in clip.notes)
    if command:
        body += f"<p>Made by</p><pre>{escape(command)}</pre>"
        body += f"<p>In 3D</p><pre>{escape(command)} --mode=view</pre>"
    else:
        body += "<p>The same command with --mode=view opens this run in 3D.</p>"
    for title, tree in (("Versions and device", machine), ("Configuration", config)):
        if tree:
            rows = flatten(tree).items()
            text = "\n".join(f"{k} = {json.dumps(v, default=str)}" for k, v in rows)
            body += page.fold(title, f"<pre>{escape(text)}</pre>")
    return page.section("Details", "", body)
