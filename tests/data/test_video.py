"""Video files: every frame exactly, in any order, and files that lie."""

import pathlib

import av
import numpy as np
import pytest

from egojax.data import video
from egojax.errors import FrameError, UsageError

RNG = np.random.default_rng(0)


def smooth_frame(t: int, size_hw=(64, 96)) -> np.ndarray:
    """A gradient with the frame's number in eight dark or bright blocks above."""
    frame = np.zeros((*size_hw, 3), np.uint8)
    frame[..., 0] = 40
    frame[..., 1] = np.linspace(0, 200, size_hw[1])
    frame[..., 2] = 90
    for bit in range(8):
        frame[:32, 12 * bit : 12 * bit + 12] = 220 if t >> bit & 1 else 30
    return frame


def write_movie(path: pathlib.Path, count: int, codec="libx264", **options) -> None:
    """A movie with sparse key frames and B frames, the hard case for seeking."""
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=24, options=options or {"g": "12"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for t in range(count):
            picture = av.VideoFrame.from_ndarray(smooth_frame(t), format="rgb24")
            box.mux(stream.encode(picture))
        box.mux(stream.encode())


def number_of(frame: np.ndarray) -> int:
    blocks = [np.median(frame[:32, 12 * bit : 12 * bit + 12]) for bit in range(8)]
    return sum((level > 125) << bit for bit, level in enumerate(blocks))


def test_every_frame_of_a_movie_is_the_right_one_in_any_order(tmp_path):
    write_movie(tmp_path / "a.mp4", 50, g="12", bf="3")
    frames, info = video.read_video(tmp_path / "a.mp4", keep=4)
    assert info == (50, (64, 96), 24.0)
    order = [*range(50), *RNG.permutation(50).tolist(), 49, 0, 48]
    assert [number_of(frames[t]) for t in order] == order


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx-vp9"),
        ("a.mp4", "mpeg4"),
    ],
)
def test_other_containers_and_codecs_are_read_exactly(tmp_path, name, codec):
    write_movie(tmp_path / name, 20, codec, g="7")
    frames, info = video.read_video(tmp_path / name)
    assert info.num_frames == 20
    order = [*range(20), 3, 19, 0, 12]
    assert [number_of(frames[t]) for t in order] == order


def test_a_movie_without_time_stamps_is_counted_by_decoding(tmp_path):
    write_movie(tmp_path / "a.h264", 15, bf="0")
    frames, info = video.read_video(tmp_path / "a.h264")
    assert info.num_frames == 15
    order = [0, 14, 3, 3, 13]
    assert [number_of(frames[t]) for t in order] == order


def test_a_movie_filmed_sideways_is_turned_upright(tmp_path):
    """The display matrix turns counter-clockwise, as numpy does."""
    with av.open(str(tmp_path / "a.mp4"), "w") as box:
        stream = box.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.set_display_rotation(90)
        picture = av.VideoFrame.from_ndarray(smooth_frame(5), format="rgb24")
        box.mux(stream.encode(picture))
        box.mux(stream.encode())
    frames, info = video.read_video(tmp_path / "a.mp4")
    assert info.size_hw == (96, 64)
    assert number_of(np.rot90(frames[0], -1)) == 5


def test_a_movie_that_was_cut_off_gives_errors_for_what_is_lost(tmp_path):
    """A fragmented file that lost its end, and one with a hole of zeros."""
    write_movie(tmp_path / "a.mkv", 40, g="10", bf="0")
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    frames, info = video.read_video(tmp_path / "cut.mkv")
    assert 10 < info.num_frames < 40
    assert [number_of(frames[t]) for t in range(5)] == list(range(5))
    lost = []
    for t in range(info.num_frames):
        try:
            assert number_of(frames[t]) == t
        except FrameError:
            lost.append(t)
    assert len(lost) <= 2


@pytest.mark.parametrize("size_hw", [(64, 96), (63, 95)])
def test_written_movies_play_and_keep_their_frames(tmp_path, size_hw):
    path = tmp_path / "out.mp4"
    frames = [smooth_frame(t, size_hw) for t in range(12)]
    with video.VideoWriter(path, fps=12.5) as movie:
        for frame in frames:
            movie.write(frame)
    found, info = video.read_video(path)
    assert info.num_frames == 12 and info.fps == pytest.approx(12.5)
    assert info.size_hw == (64, 96)
    for t in (0, 5, 11):
        part = found[t][: size_hw[0], : size_hw[1]].astype(int)
        assert np.abs(part - frames[t]).mean() < 4
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    with av.open(str(path)) as box:
        assert box.streams.video[0].codec_context.name == "h264"


def test_a_movie_that_is_not_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), video.VideoWriter(path) as movie:
        movie.write(smooth_frame(0))
        raise RuntimeError
    with video.VideoWriter(path):
        pass
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((6, 4, 3), np.uint8)],
)
def test_frames_of_another_kind_cannot_be_written(tmp_path, frame):
    with (
        pytest.raises(ValueError, match=r"uint8|others are"),
        video.VideoWriter(tmp_path / "a.mp4") as movie,
    ):
        movie.write(np.zeros((4, 4, 3), np.uint8))
        movie.write(frame)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "count", "size_hw"),
    [("cups.mp4", 300, (720, 1280)), ("apple.mp4", 50, (720, 1296))],
)
def test_real_movies_have_the_frames_that_decoding_counts(
    real_data, name, count, size_hw
):
    frames, info = video.read_video(real_data / name)
    assert info.num_frames == count and info.size_hw == size_hw
    with av.open(str(real_data / name)) as box:
        for t, frame in enumerate(box.decode(video=0)):
            if t in (0, 17, 30):
                np.testing.assert_array_equal(
                    frames[t], frame.to_ndarray(format="rgb24")
                )
            if t == 30:
                break


def _sound_only(path: pathlib.Path) -> None:
    with av.open(str(path), "w") as box:
        stream = box.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), "fltp", "mono"
        )
        sound.sample_rate = 8000
        box.mux(stream.encode(sound))
        box.mux(stream.encode())


def _header_only(path: pathlib.Path) -> None:
    write_movie(path, 10)
    path.write_bytes(path.read_bytes()[:64])


BAD_MOVIES = {
    "empty.mp4": lambda p: p.write_bytes(b""),
    "text.mp4": lambda p: p.write_text("hello" * 50),
    "sound.mp4": _sound_only,
    "header.mp4": _header_only,
    "absent.mp4": lambda p: None,
    "frames.mp4": lambda p: p.mkdir(),
    "none.mkv": lambda p: write_movie(p, 0),
}


@pytest.mark.parametrize("name", BAD_MOVIES)
def test_a_movie_that_cannot_be_used_is_one_line(tmp_path, name):
    BAD_MOVIES[name](tmp_path / name)
    with pytest.raises(UsageError) as told:
        video.read_video(tmp_path / name)
    assert name in str(told.value) and "\n" not in str(told.value)
