"""`.pt` files of ours: read back, and by torch where it is there."""

import pickletools
import zipfile

import numpy as np
import pytest

from egojax.data.pickles import STORAGES, read_pt
from egojax.data.pt_writing import write_pt

PLAIN = {
    "numbers": [0, 1, -1, 255, 256, -129, 2**31, -(2**63), 2**70, 1.5, -0.0],
    "texts": ("", "é", "a" * 300),
    "flags": (True, False, None),
    "nested": {"a": [{"b": ()}], 3: []},
}


def test_plain_values_come_back(tmp_path):
    write_pt(tmp_path / "a.pt", PLAIN)
    found = read_pt(tmp_path / "a.pt")
    assert found == PLAIN
    assert [type(v) for v in found["flags"]] == [bool, bool, type(None)]


@pytest.mark.parametrize("dtype", STORAGES.values())
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4), (2, 0, 3)])
def test_arrays_come_back(tmp_path, dtype, shape):
    value = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    write_pt(tmp_path / "a.pt", {"a": value, "b": [value, value]})
    found = read_pt(tmp_path / "a.pt")
    for given in (found["a"], *found["b"]):
        assert given.dtype == np.dtype(dtype) and given.shape == shape
        np.testing.assert_array_equal(given, value)


def test_arrays_of_any_layout_and_byte_order_come_back(tmp_path):
    value = np.arange(24, dtype=">f4").reshape(2, 3, 4)
    given = {"turned": value.T, "cut": value[:, ::2, 1:], "wide": np.zeros((2, 1))}
    write_pt(tmp_path / "a.pt", given)
    found = read_pt(tmp_path / "a.pt")
    for name, want in given.items():
        np.testing.assert_array_equal(found[name], want)
        assert found[name].dtype == want.dtype.newbyteorder("=")


def test_the_file_names_no_more_than_torch_needs_for_tensors(tmp_path):
    write_pt(tmp_path / "a.pt", {**PLAIN, "a": np.zeros((2, 2), np.float16)})
    with zipfile.ZipFile(tmp_path / "a.pt") as box:
        assert {info.compress_type for info in box.infolist()} == {zipfile.ZIP_STORED}
        assert box.read("archive/version") == b"3\n"
        codes = list(pickletools.genops(box.read("archive/data.pkl")))
    assert {arg for code, arg, _ in codes if code.name == "GLOBAL"} == {
        "torch._utils _rebuild_tensor_v2",
        "torch HalfStorage",
        "collections OrderedDict",
    }
    assert codes[0][1] == 2


@pytest.mark.parametrize(
    "value", [{1, 2}, b"bytes", object(), np.zeros(2, np.uint16), np.array(["a"])]
)
def test_what_torch_would_not_take_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r"no place in a \.pt|torch has no arrays"):
        write_pt(tmp_path / "a.pt", {"a": [value]})
    assert not list(tmp_path.iterdir())


def test_torch_takes_the_file(tmp_path):
    torch = pytest.importorskip("torch")
    value = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    flags = value.astype(np.int64) % 3 == 0
    write_pt(tmp_path / "a.pt", {**PLAIN, "a": value, "b": flags})
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    np.testing.assert_array_equal(found.pop("a").numpy(), value)
    np.testing.assert_array_equal(found.pop("b").numpy(), flags)
    assert found == PLAIN
