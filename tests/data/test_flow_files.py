"""Files of optical flow: official numbers, round trips, files that lie, folders."""

import os
import struct

import numpy as np
import pytest

from egojax.data import flow_files
from egojax.data.flow_files import (
    find_flows,
    flow_source,
    read_flow,
    resize_flow,
    write_flo,
    write_flow,
)
from egojax.errors import FrameError, UsageError

WRITERS = {".flo": write_flo, ".npz": write_flow}


def counting(height=4, width=6):
    """Spec 10.8: u counts the pixels, v is -u."""
    u = np.arange(height * width, dtype=np.float32).reshape(height, width)
    return np.stack([u, -u], -1)


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_official_numbers_at_other_sizes(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, counting())
    small = read_flow(path, (2, 3))
    np.testing.assert_allclose(small[..., 0], [[0, 1, 2], [6, 7, 8]])
    np.testing.assert_allclose(small[..., 1], [[0, -1, -2], [-6, -7, -8]])
    odd = read_flow(path, (3, 5))
    row = [0, 0.8333333, 1.6666666, 2.5, 3.3333333]
    np.testing.assert_allclose(odd[0, :, 0], row, rtol=1e-6)
    np.testing.assert_allclose(odd[:, 0, 0], [0, 5, 10])
    assert odd.dtype == small.dtype == np.float32


def test_the_nearest_pixel_is_taken_by_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        height, width, high, wide = rng.integers(1, 40, 4)
        flow = rng.normal(size=(height, width, 2)).astype(np.float32)
        found = resize_flow(flow, (int(high), int(wide)))
        assert found.shape == (high, wide, 2)
        for i in range(high):
            for j in range(wide):
                near = flow[i * height // high, j * width // wide]
                want = near * [wide / width, high / height]
                np.testing.assert_allclose(found[i, j], want, rtol=1e-6)


@pytest.mark.parametrize("suffix", WRITERS)
def test_flow_returns_as_written(tmp_path, suffix):
    rng = np.random.default_rng(1)
    flow = (20 * rng.normal(size=(7, 9, 2))).astype(np.float32)
    flow[0, 0] = [4000.0, -4000.0]
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, flow)
    found = read_flow(path)
    assert found.dtype == np.float32
    if suffix == ".flo":
        np.testing.assert_array_equal(found, flow)
    else:
        np.testing.assert_array_equal(found[0, 0], [1000, -1000])
        np.testing.assert_allclose(found[1:], flow[1:], atol=1 / 64)


def test_a_flo_file_is_as_its_format_says(tmp_path):
    write_flo(tmp_path / "a.flo", counting(1, 2))
    want = struct.pack("<4sii4f", b"PIEH", 2, 1, 0.0, -0.0, 1.0, -1.0)
    assert (tmp_path / "a.flo").read_bytes() == want


def flo(width, height, *values, magic=202021.25):
    return struct.pack(f"<fii{len(values)}f", magic, width, height, *values)


BAD_FLO = {
    "empty": (b"", "0 bytes"),
    "cut head": (flo(2, 1)[:9], "9 bytes"),
    "text": (b"hello, world!!", "starts with"),
    "wrong magic": (flo(2, 1, 0, 1, 2, 3, magic=1.5), r"starts with 1\.5"),
    "big-endian": (struct.pack(">fii2f", 202021.25, 1, 1, 0, 0), "starts with"),
    "NaN magic": (flo(1, 1, 0, 0, magic=float("nan")), "starts with nan"),
    "cut": (flo(2, 1, 0, 1, 2), r"24 bytes; 2 x 1 .* take 28"),
    "too long": (flo(2, 1, 0, 1, 2, 3, 4), r"32 bytes; 2 x 1"),
    "other size": (flo(3, 1, 0, 1, 2, 3), r"28 bytes; 3 x 1"),
    "no pixels": (flo(0, 5), "announces 0 x 5"),
    "negative": (flo(-2, -1, 0, 1, 2, 3), "announces -2 x -1"),
    "huge": (flo(2**31 - 1, 2**31 - 1), "announces 2147483647 x"),
    "huge row": (flo(60_000_000, 1), "12 bytes"),
    "NaN": (flo(1, 1, float("nan"), 0), "NaN or unknown"),
    "infinite": (flo(1, 1, 0, float("-inf")), "NaN or unknown"),
    "unknown": (flo(1, 1, 1.666e9, 1.666e9), "NaN or unknown"),
}


@pytest.mark.parametrize("what", BAD_FLO)
def test_a_bad_flo_file_costs_the_frame_and_says_why(tmp_path, what):
    data, reason = BAD_FLO[what]
    (tmp_path / "a.flo").write_bytes(data)
    with pytest.raises(FrameError, match=reason) as err:
        read_flow(tmp_path / "a.flo", (4, 4))
    assert str(err.value).startswith(f"{tmp_path / 'a.flo'}: ")


BAD_NPZ = {
    "no flow": ({"flo": np.zeros((2, 2, 2), np.int16)}, "expected an array `flow`"),
    "one channel": ({"flow": np.zeros((2, 2), np.int16)}, "expected an array `flow`"),
    "empty": ({"flow": np.zeros((0, 2, 2), np.int16)}, "expected an array `flow`"),
    "floats": ({"flow": np.zeros((2, 2, 2), np.float32)}, "flow is float32"),
    "pickled": ({"flow": np.array({1: 2}, object)}, "no readable npz"),
}


@pytest.mark.parametrize("what", BAD_NPZ)
def test_a_bad_npz_file_costs_the_frame_and_says_why(tmp_path, what):
    columns, reason = BAD_NPZ[what]
    np.savez(tmp_path / "a.npz", **columns)
    with pytest.raises(FrameError, match=reason):
        read_flow(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_is_no_file_costs_the_frame(tmp_path, suffix):
    with pytest.raises(FrameError, match="cannot be read"):
        read_flow(tmp_path / f"a{suffix}")
    os.mkfifo(tmp_path / f"b{suffix}")
    with pytest.raises(FrameError, match="not a regular file"):
        read_flow(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("write", WRITERS.values())
@pytest.mark.parametrize(
    "flow", [np.zeros((3, 4)), np.zeros((0, 4, 2)), np.full((3, 4, 2), np.nan)]
)
def test_what_is_no_flow_is_not_written(tmp_path, write, flow):
    with pytest.raises(ValueError, match="flow"):
        write(tmp_path / "a", flow)
    assert not list(tmp_path.iterdir())


def official_root(root):
    """Three frames: gap 1 as DAVIS has it, gap -1 as FBMS, gap 2 in our files."""
    frames = ("00000", "00001", "00002")
    for gap, size, names, write in (
        (1, "1080p", frames[:2], write_flo),
        (-1, "", frames[1:], write_flo),
        (2, "480p", frames[:1], write_flow),
    ):
        folder = root / f"Flows_gap{gap}" / size / "bear"
        folder.mkdir(parents=True)
        for name in names:
            suffix = ".npz" if write is write_flow else ".flo"
            flow = np.full((8, 12, 2), gap, np.float32) * (1 + int(name))
            write(folder / f"{name}{suffix}", flow)
    (root / "Flows_gapX" / "bear").mkdir(parents=True)
    (root / "Flows_gap0" / "bear").mkdir(parents=True)
    (root / "Flows_gap-2" / "cow").mkdir(parents=True)
    return frames


def test_an_official_root_gives_lazy_flow_by_gap(tmp_path):
    frames = official_root(tmp_path)
    assert list(find_flows(tmp_path, "bear")) == [1, -1, 2]
    folders = find_flows(tmp_path, "bear")
    flows = {gap: flow_source(f, frames, (4, 6)) for gap, f in folders.items()}
    assert [[f is None for f in flows[gap]] for gap in (1, -1, 2)] == [
        [False, False, True],
        [True, False, False],
        [False, True, True],
    ]
    np.testing.assert_array_equal(flows[1][1], np.full((4, 6, 2), 1.0))
    np.testing.assert_array_equal(flows[-1][2], np.full((4, 6, 2), -1.5))
    whole = flow_source(folders[2], frames)
    np.testing.assert_array_equal(whole[0], np.full((8, 12, 2), 2.0))
    assert find_flows(tmp_path, "horse") == {}
    assert find_flows(tmp_path / "nothing", "bear") == {}


def test_a_bad_file_of_a_folder_costs_its_frame_alone(tmp_path):
    frames = official_root(tmp_path)
    folder = tmp_path / "Flows_gap1" / "1080p" / "bear"
    (folder / "00000.flo").write_bytes(b"PIEH")
    source = flow_source(folder, frames)
    assert source[1] is not None
    with pytest.raises(FrameError, match=r"00000\.flo: 4 bytes"):
        source[0]


def test_flow_of_other_frames_or_none_is_told(tmp_path):
    official_root(tmp_path)
    with pytest.raises(UsageError, match="no name here is a frame"):
        flow_source(find_flows(tmp_path, "bear")[1], ("00007",))
    with pytest.raises(UsageError, match="no frames here"):
        flow_source(tmp_path / "Flows_gap-2" / "cow", ("00000",))


def test_the_magic_number_is_the_official_text():
    assert flow_files.MAGIC.tobytes() == b"PIEH"
