"""Weights of a network in a file: back as they were, or a line that says why not."""

import numpy as np
import pytest

from egojax.data import arrays
from egojax.data.weight_files import read_weights, write_weights
from egojax.errors import UsageError

WEIGHTS = {"down/0/kernel": np.float32([[1.5, -2.0]]), "out": np.zeros(0, np.float32)}


def test_what_is_written_comes_back(tmp_path):
    about = {"kind": "unet", "channels": [8, 16]}
    write_weights(tmp_path / "w.npz", WEIGHTS, about)
    found = read_weights(tmp_path / "w.npz", "network")
    assert found.about == about and found.weights.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(found.weights[name], value)


@pytest.mark.parametrize("about", [None, np.array("{"), np.array("[1]")])
def test_a_file_that_does_not_say_what_it_holds_is_refused(tmp_path, about):
    more = {} if about is None else {"about": about}
    arrays.write_npz(tmp_path / "w.npz", {**WEIGHTS, **more})
    with pytest.raises(UsageError, match=r"w\.npz: no network: it does not say what"):
        read_weights(tmp_path / "w.npz", "network")


def test_weights_that_are_no_numbers_are_named_all_at_once(tmp_path):
    bad = {"a": np.float32([np.nan]), "b": np.float32([np.inf]), "c": np.array([1])}
    write_weights(tmp_path / "w.npz", {**WEIGHTS, **bad}, {})
    with pytest.raises(UsageError) as err:
        read_weights(tmp_path / "w.npz", "network")
    lines = str(err.value).splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == ["a", "b", "c"]
