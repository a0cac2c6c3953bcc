"""What a user can mend, told in one line each; bugs keep their traceback."""

from collections.abc import Iterable

MAX_PROBLEMS = 20  # Told of one input; the rest is counted.


class UsageError(Exception):
    """Wrong usage or input: shown without a traceback, exit code 2.

    The text says where, what was found, what was expected and what to do. A file with
    several problems raises one error with a line for each (`from_problems`).
    """

    @classmethod
    def from_problems(
        cls, problems: Iterable[str], limit: int = MAX_PROBLEMS
    ) -> "UsageError":
        """Joins the problems of one input, a line each; counts those past `limit`."""
        lines = list(problems)
        if len(lines) > limit:
            lines[limit:] = [f"and {len(lines) - limit} more problems"]
        return cls("\n".join(lines))


class FrameError(Exception):
    """One frame cannot be used: skipped, counted and reported, exit code 3.

    A `Source` raises it for a bad frame of an otherwise good clip; whoever walks the
    clip catches it, leaves the frame out and tells (`data.stream.host_frames`).
    """
