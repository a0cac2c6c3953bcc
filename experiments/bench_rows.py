"""Lines of the bench table."""

from typing import Any


def line(
    name: str,
    ours: float,
    *,
    reference: float | None = None,
    simple: float | None = None,
    error: float | None = None,
    compile_s: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One line of the table, in milliseconds."""
    return {
        "name": name,
        "ours_ms": ours,
        "reference_ms": reference,
        "simple_ms": simple,
        "ratio_reference": None if reference is None else reference / ours,
        "ratio_simple": None if simple is None else simple / ours,
        "error": error,
        "compile_s": compile_s,
        "note": note,
    }
