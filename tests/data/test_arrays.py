import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from egojax.data import arrays, pickles
from egojax.errors import UsageError


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def npy(values, **options):
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


def huge_header():
    return npy(np.zeros(2)).replace(b"(2,), }", b"(99999999999,), }".rjust(7))[:128]


BAD_NPY = {
    "empty": b"",
    "text": b"hello",
    "truncated": npy(np.zeros((9, 9)))[:-8],
    "huge shape": huge_header(),
    "pickled": npy(np.array({1: 2}), allow_pickle=True),
    "text values": npy(np.array(["a"])),
    "complex": npy(np.zeros(2, complex)),
    "wrong rank": npy(np.zeros((2, 2))),
    "not finite": npy(np.array([np.nan])),
    "cut header": npy(np.zeros(2))[:20],
}


@pytest.mark.parametrize("what", BAD_NPY)
def test_a_bad_npy_file_gets_one_line_that_names_it(tmp_path, what):
    path = tmp_path / "a.npy"
    path.write_bytes(BAD_NPY[what])
    with pytest.raises(UsageError) as err:
        arrays.read_npy(path, shape=(None,), finite=True)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


def test_big_endian_arrays_become_native(tmp_path):
    arrays.write_bytes(tmp_path / "a.npy", npy(np.arange(3, dtype=">f4")))
    found = arrays.read_npy(tmp_path / "a.npy")
    assert found.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(found, [0, 1, 2])


def test_written_arrays_and_texts_come_back(tmp_path):
    values = np.arange(6, dtype=np.uint32).reshape(2, 3)
    arrays.write_npy(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(arrays.read_npy(tmp_path / "a.npy", (2, 3)), values)
    arrays.write_text(tmp_path / "a.txt", "é")
    assert (tmp_path / "a.txt").read_text("utf-8") == "é"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "a.txt"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pickled_dictionary_of_arrays_comes_back(tmp_path, order):
    values = np.asarray(np.random.default_rng(0).normal(size=(2, 5)), order=order)
    given = {300: values.astype(np.float32), np.int64(7): np.zeros((1, 3), ">f8")}
    np.save(tmp_path / "a.npy", given, allow_pickle=True)
    found = pickles.read_npy_dict(tmp_path / "a.npy")
    assert list(found) == [300, 7]
    np.testing.assert_array_equal(found[300], given[300])
    assert found[300].dtype == np.float32
    assert found[7].shape == (1, 3)


def test_a_plain_pickle_of_sets_and_lists_comes_back(tmp_path):
    given = {"class_names": {"tap", "pan"}, "visor": [{"class2id": {"tap": 0}}]}
    (tmp_path / "a.pt").write_bytes(pickle.dumps(given, protocol=2))
    assert pickles.read_pt(tmp_path / "a.pt") == given


def test_no_pickle_runs_code(tmp_path):
    trap = tmp_path / "executed"
    data = pickle.dumps({"a": Attack(trap)})
    (tmp_path / "a.pt").write_bytes(data)
    np.save(tmp_path / "a.npy", {"a": Attack(trap)}, allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as archive:
        archive.writestr("z/data.pkl", data)
    for name, read in (
        ("a.pt", pickles.read_pt),
        ("z.pt", pickles.read_pt),
        ("a.npy", pickles.read_npy_dict),
    ):
        with pytest.raises(UsageError, match=r"mkdir, which is refused"):
            read(tmp_path / name)
    assert not trap.exists()


def bad_zip(name, data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


BAD_PICKLES = {
    "empty": b"",
    "truncated": pickle.dumps({1: np.zeros(9)})[:-9],
    "text": b"hello",
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "zip without data": bad_zip("a", b""),
    "zip with rubbish": bad_zip("a/data.pkl", b"rubbish"),
    "cut zip": bad_zip("a/data.pkl", pickle.dumps({}))[:-9],
    "dates": pickle.dumps(np.zeros(2, "M8[s]")),
    "outside reference": b"\x80\x02X\x01\x00\x00\x00aQ.",
}


@pytest.mark.parametrize("what", BAD_PICKLES)
def test_a_bad_pickle_gets_one_line_that_names_it(tmp_path, what):
    path = tmp_path / "a.pt"
    path.write_bytes(BAD_PICKLES[what])
    with pytest.raises(UsageError) as err:
        pickles.read_pt(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


@pytest.mark.parametrize("what", ["empty", "text", "truncated", "cut header"])
def test_a_bad_npy_dictionary_gets_one_line_that_names_it(tmp_path, what):
    path = tmp_path / "a.npy"
    path.write_bytes(BAD_NPY[what])
    with pytest.raises(UsageError, match=r"a\.npy: "):
        pickles.read_npy_dict(path)


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(("
    b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x06tQK%cK\x02K%c\x86K\x01K\x02\x86\x89}tR."
)


def tensor_file(path, offset, columns):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", TENSOR % (bytes([offset]), bytes([columns])))
        archive.writestr("a/data/0", np.arange(6, dtype="<f4").tobytes())


def test_a_tensor_is_read_by_its_offset_and_strides(tmp_path):
    tensor_file(tmp_path / "a.pt", 1, 2)
    np.testing.assert_array_equal(pickles.read_pt(tmp_path / "a.pt"), [[1, 3], [2, 4]])


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    tensor_file(tmp_path / "a.pt", 1, 200)
    with pytest.raises(UsageError, match="beyond its storage"):
        pickles.read_pt(tmp_path / "a.pt")
