"""Reading the numeric oracles: JSON, masks as run lengths, null as NaN."""

import json
import pathlib

import numpy as np
import pytest

ORACLES = pathlib.Path(__file__).resolve().parents[1] / "oracles"


@pytest.fixture(scope="session")
def oracle():
    """Loads one file of `tests/oracles` by name."""
    return lambda name: json.loads((ORACLES / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def from_runs():
    """Expands run lengths over the C-order array."""

    def expand(packed):
        values, lengths = np.array(packed["runs"]).T
        return np.repeat(values, lengths).reshape(packed["shape"])

    return expand


@pytest.fixture(scope="session")
def agrees():
    """Compares a dictionary with the oracle's, numbers and lists, null as NaN."""

    def check(ours, oracle, tolerance=1e-12):
        for name, value in oracle.items():
            expected = np.array(value, float)
            np.testing.assert_allclose(
                np.array(ours[name], float),
                expected,
                rtol=0,
                atol=tolerance,
                err_msg=name,
            )

    return check
