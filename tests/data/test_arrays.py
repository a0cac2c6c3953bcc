import collections
import errno
import io
import json
import os
import pickle
import struct
import warnings
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
    "negative shape": npy(np.zeros(2)).replace(b"(2,), ", b"(-2,),"),
    "nested header": npy(np.zeros(2)).replace(b"(2,), }", b"(" * 7),
    "records": npy(np.zeros(2, [("a", "f4")])),
    "unknown version": npy(np.zeros(2)).replace(b"NUMPY\x01", b"NUMPY\x09"),
}


@pytest.mark.parametrize("what", BAD_NPY)
def test_a_bad_npy_file_gets_one_line_that_names_it(tmp_path, what):
    path = tmp_path / "a.npy"
    path.write_bytes(BAD_NPY[what])
    with pytest.raises(UsageError) as err:
        arrays.read_npy(path, shape=(None,), finite=True)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


def npz(**columns):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()


def zip_of(*members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            with warnings.catch_warnings(action="ignore"):
                archive.writestr(name, data)
    return buffer.getvalue()


BAD_NPZ = {
    "empty": b"",
    "text": b"hello",
    "cut": npz(a=np.zeros(50))[:-30],
    "flipped byte": zip_of(("a.npy", npy(np.arange(50)))).replace(b"\x31", b"\x30"),
    "pickled": npz(a=np.array({1: 2}, object)),
    "no array": zip_of(("a.npy", b"hello")),
    "same name twice": zip_of(("a.npy", npy(np.zeros(1))), ("a.npy", npy(np.ones(1)))),
    "huge array": zip_of(("a.npy", huge_header())),
    "bomb": zip_of(("a.npy", npy(np.zeros(1)))).replace(
        struct.pack("<II", 136, 136), struct.pack("<II", 136, 1 << 30)
    ),
    "encrypted": zip_of(("a.npy", npy(np.zeros(1)))).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
}


@pytest.mark.parametrize("what", BAD_NPZ)
def test_a_bad_npz_file_gets_one_line_that_names_it(tmp_path, what):
    path = tmp_path / "a.npz"
    path.write_bytes(BAD_NPZ[what])
    with pytest.raises(UsageError) as err:
        arrays.read_npz(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


BAD_JSON = {
    "empty": b"",
    "cut": b'{"a": [1',
    "key twice": b'{"a": {"b": 1, "c": 2, "b": 3}}',
    "deep": b"[" * 100_000,
    "long number": b"[" + b"9" * 5000 + b"]",
    "latin": b'{"\xe9": 1}',
}


@pytest.mark.parametrize("what", BAD_JSON)
def test_a_bad_json_file_gets_one_line_that_names_it(tmp_path, what):
    path = tmp_path / "a.json"
    path.write_bytes(BAD_JSON[what])
    with pytest.raises(UsageError) as err:
        arrays.read_json(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


READERS = (
    *(arrays.read_json, arrays.read_npy, arrays.read_npz),
    *(pickles.read_npy_dict, pickles.read_pt),
)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("what", ["nothing", "folder", "loop", "pipe", "NUL"])
def test_what_is_no_regular_file_is_told_and_not_waited_for(tmp_path, read, what):
    path = tmp_path / "a"
    if what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "NUL":
        path = tmp_path / "a\0b"
    with pytest.raises(UsageError) as err:
        read(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


@pytest.mark.parametrize(
    "given",
    ["/etc/a.jpg", "../a.jpg", "a/../../b.jpg", "..", "", "a\0.jpg", "C:\\a", "\\a", 3],
)
def test_a_name_that_leaves_its_folder_is_refused(given):
    with pytest.raises(ValueError, match="file name"):
        arrays.frame_name(given)


def test_a_frame_is_named_without_folder_and_suffix():
    assert arrays.frame_name("cam 1/frame_01.jpg") == "frame_01"
    assert arrays.frame_name("frame.0012.png") == "frame.0012"
    assert arrays.frame_name("12:30:05.png") == "12:30:05"


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    arrays.write_json(path, {"a": float("nan")})
    before = path.read_bytes()
    assert json.loads(before) == {"a": None}

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"a\.json: cannot be written: No space left"):
        arrays.write_json(path, {"a": 2})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


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


class Settings(dict):
    """As a training framework keeps its options: items, and a state beside them."""


class Callback:
    """As a training framework keeps what it runs: a class, and objects of it."""

    def __init__(self):
        self.best = 3.5


def test_objects_of_other_classes_are_passed_over_on_request(tmp_path):
    options = Settings(lr=0.1)
    options.frozen = True
    trap = tmp_path / "executed"
    given = {
        "options": options,
        "callbacks": {Callback: {"k": 1}},
        "object": Callback(),
        "attack": Attack(trap),
        "weights": np.ones(3),
    }
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps(given))
    found = pickles.read_pt(tmp_path / "a.ckpt", pass_over=True)
    assert not trap.exists()
    assert found["options"] == {"lr": 0.1, "frozen": True}
    ((name, inner),) = found["callbacks"].items()
    assert name.endswith(".Callback") and inner == {"k": 1}
    assert found["object"] == {"best": 3.5}
    assert found["attack"].endswith("mkdir")
    np.testing.assert_array_equal(found["weights"], np.ones(3))


BAD_PICKLES = {
    "empty": b"",
    "truncated": pickle.dumps({1: np.zeros(9)})[:-9],
    "text": b"hello",
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "zip without data": zip_of(("a", b"")),
    "zip with rubbish": zip_of(("a/data.pkl", b"rubbish")),
    "cut zip": zip_of(("a/data.pkl", pickle.dumps({})))[:-9],
    "dates": pickle.dumps(np.zeros(2, "M8[s]")),
    "outside reference": b"\x80\x02X\x01\x00\x00\x00aQ.",
    # Reserves 2^32 slots in the unpickler that is written in C, then goes on.
    "huge memo": b"\x80\x02}r\xff\xff\xff\xffq\x00" + b"Kx",
    "huge buffer": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",
    "extension": b"\x80\x02\x82\x01.",
    "a function as value": b"c_codecs\nencode\n.",
    "a function in a set": b"\x80\x04\x8f(c_codecs\nencode\n\x90.",
    "a changed function": b"c_codecs\nencode\n}N\x86b.",
    "a changed class": b"cnumpy\ndtype\n}N\x86b.",
    "huge list in itself": b"]q\x00h\x00a.",
}


@pytest.mark.parametrize("what", BAD_PICKLES)
def test_a_bad_pickle_gets_one_line_that_names_it(tmp_path, what):
    path = tmp_path / "a.pt"
    path.write_bytes(BAD_PICKLES[what])
    with pytest.raises(UsageError) as err:
        pickles.read_pt(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


@pytest.mark.parametrize(
    "what", [w for w in BAD_PICKLES if w not in ("eval", "huge list in itself")]
)
def test_a_bad_pickle_is_bad_also_where_objects_are_passed_over(tmp_path, what):
    (tmp_path / "a.pt").write_bytes(BAD_PICKLES[what])
    with pytest.raises(UsageError, match=r"a\.pt: "):
        pickles.read_pt(tmp_path / "a.pt", pass_over=True)


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


def test_containers_named_many_times_are_made_once(tmp_path):
    given = []
    for _ in range(60):  # 2^60 empty lists, if each mention were a copy.
        given = [given, given]
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": given}, protocol=2))
    found = pickles.read_pt(tmp_path / "a.pt")["a"]
    assert found[0] is found[1]


def test_arrays_of_one_shape_in_an_array_of_objects_stay_apart(tmp_path):
    given = np.empty(2, object)
    given[:] = [np.zeros(3), None]
    given[1] = np.ones(3)
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": given}))
    found = pickles.read_pt(tmp_path / "a.pt")["a"]
    np.testing.assert_array_equal(found[1], np.ones(3))


def test_a_state_dict_with_versions_is_read_as_a_dictionary(tmp_path):
    """As torch saves modules: an OrderedDict with an attribute, parameters inside."""
    given = collections.OrderedDict(a=1.5)
    vars(given)["_metadata"] = collections.OrderedDict(version=2)
    (tmp_path / "a.pt").write_bytes(pickle.dumps(given, protocol=2))
    assert pickles.read_pt(tmp_path / "a.pt") == {"a": 1.5}


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
