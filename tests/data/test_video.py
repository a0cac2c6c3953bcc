"""Images, maps and video files: round trips, real files, and files that lie."""

import pathlib
import struct
import zlib

import av
import cv2
import numpy as np
import pytest
from PIL import Image

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


# ------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("size_hw", [(8, 12), (7, 5)])
def test_labels_return_as_written(tmp_path, size_hw):
    labels = RNG.integers(0, 65_536, size_hw).astype(np.int32)
    video.write_labels(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(video.read_labels(tmp_path / "a.png"), labels)
    np.save(tmp_path / "b.npy", labels.astype(np.uint32) + 70_000)
    np.testing.assert_array_equal(
        video.read_labels(tmp_path / "b.npy", size_hw), labels + 70_000
    )


def test_a_palette_gives_its_indices_and_not_its_colours(tmp_path):
    indices = RNG.integers(0, 4, (6, 9)).astype(np.uint8)
    image = Image.frombytes("P", (9, 6), indices.tobytes())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    image.save(tmp_path / "a.png", bits=8)
    image.save(tmp_path / "b.png", bits=2)
    for name in "ab":
        found = video.read_labels(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(found, indices)


def test_depth_returns_to_half_a_millimetre_and_unknown_is_infinite(tmp_path):
    depth = RNG.uniform(0.1, 60.0, (6, 9)).astype(np.float32)
    depth[0, :4] = [np.inf, np.nan, 0.0, 70.0]
    video.write_depth(tmp_path / "a.png", depth)
    found = video.read_depth(tmp_path / "a.png")
    assert np.isinf(found[0, :4]).all() and found.dtype == np.float32
    np.testing.assert_allclose(found[1:], depth[1:], atol=0.5001e-3)
    np.save(tmp_path / "b.npy", depth.astype(np.float64))
    np.savez(tmp_path / "c.npz", depth=depth)
    for name in ("b.npy", "c.npz"):
        found = video.read_depth(tmp_path / name, (6, 9))
        assert np.isinf(found[0, :3]).all()
        np.testing.assert_array_equal(found[1:], depth[1:])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_images_return_with_their_colours(tmp_path, suffix):
    frame = smooth_frame(30)
    video.write_image(tmp_path / f"a{suffix}", frame)
    found = video.read_image(tmp_path / f"a{suffix}", (64, 96)).astype(int)
    assert np.abs(found - frame).mean() < (1e-9 if suffix == ".png" else 4)


def test_a_photo_that_lies_on_its_side_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by a quarter clockwise to see it upright.
    Image.fromarray(smooth_frame(3)).save(tmp_path / "a.jpg", exif=exif)
    found = video.read_image(tmp_path / "a.jpg")
    assert found.shape == (96, 64, 3)
    expected = np.rot90(smooth_frame(3), -1)
    assert np.abs(found.astype(int) - expected).mean() < 3


def test_frames_of_a_folder_come_in_numeric_order(tmp_path):
    for name in ("f_10.png", "f_9.png", "._f_9.png", "notes.txt"):
        video.write_image(tmp_path / name, smooth_frame(0)) if "png" in name else (
            tmp_path / name
        ).write_text("x")
    assert list(video.list_frames(tmp_path, video.IMAGES)) == ["f_9", "f_10"]


# ------------------------------------------------------------------------ video files


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
    video.write_video(path, iter(frames), fps=12.5)
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


def test_labels_that_do_not_fit_16_bit_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="70000"):
        video.write_labels(tmp_path / "a.png", np.array([[70_000]]))


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


# ------------------------------------------------------------------------ hostile files


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk


def jpeg(cut: int | None = None) -> bytes:
    return cv2.imencode(".jpg", RNG.integers(0, 255, (64, 96, 3)))[1].tobytes()[:cut]


BAD_IMAGES = {
    "empty": b"",
    "half a jpeg": jpeg(2000),
    "text": b"not an image",
    "huge png": png_header(60_000, 60_000),
    "wide png": png_header(12_000, 9_000),
    "cut png": cv2.imencode(".png", RNG.integers(0, 255, (64, 96, 3)))[1].tobytes()[
        :900
    ],
    "other size": cv2.imencode(".png", np.zeros((8, 9, 3)))[1].tobytes(),
}


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_one_bad_frame_in_one_line(tmp_path, kind):
    path = tmp_path / "frame_1.jpg"
    path.write_bytes(BAD_IMAGES[kind])
    with pytest.raises(FrameError) as told:
        video.read_image(path, (64, 96))
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_a_frame_that_is_not_there_or_a_folder_is_a_bad_frame(tmp_path):
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(FrameError, match=name):
            video.read_image(tmp_path / name)


BAD_LABELS = {
    "colours.png": lambda p: video.write_image(p, smooth_frame(1)),
    "floats.npy": lambda p: np.save(p, np.ones((64, 96), np.float32)),
    "negative.npy": lambda p: np.save(p, np.full((64, 96), -1)),
    "large.npy": lambda p: np.save(p, np.full((64, 96), 2**40)),
    "cube.npy": lambda p: np.save(p, np.zeros((2, 64, 96), np.int32)),
    "size.npy": lambda p: np.save(p, np.zeros((32, 48), np.int32)),
    "pickle.npy": lambda p: np.save(p, np.array([{"a": 1}]), allow_pickle=True),
    "empty.npy": lambda p: p.write_bytes(b""),
    "short.npy": lambda p: p.write_bytes(_npy(np.zeros((64, 96), np.int32))[:400]),
    "text.png": lambda p: p.write_text("labels"),
    "claims.npy": lambda p: p.write_bytes(_claims_npy()),
}


def _npy(values: np.ndarray) -> bytes:
    import io

    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def _claims_npy() -> bytes:
    """A header that promises 2^50 values."""
    good = _npy(np.zeros((64, 96), np.int32))
    return good.replace(b"(64, 96), }", b"(33554432, 33554432), }", 1)


@pytest.mark.parametrize("name", BAD_LABELS)
def test_a_bad_label_map_is_one_bad_frame_in_one_line(tmp_path, name):
    BAD_LABELS[name](tmp_path / name)
    with pytest.raises(FrameError) as told:
        video.read_labels(tmp_path / name, (64, 96))
    assert name in str(told.value) and "\n" not in str(told.value)


BAD_DEPTHS = {
    "bytes.png": lambda p: video.write_image(p, np.zeros((64, 96), np.uint8)),
    "negative.npy": lambda p: np.save(p, np.full((64, 96), -2.0)),
    "text.npy": lambda p: np.save(p, np.full((64, 96), "a")),
    "two.npz": lambda p: np.savez(p, a=np.ones((64, 96)), b=np.ones((64, 96))),
    "broken.npz": lambda p: p.write_bytes(b"PK\x03\x04 not a zip"),
    "size.npy": lambda p: np.save(p, np.ones((96, 64))),
}


@pytest.mark.parametrize("name", BAD_DEPTHS)
def test_a_bad_depth_map_is_one_bad_frame_in_one_line(tmp_path, name):
    BAD_DEPTHS[name](tmp_path / name)
    with pytest.raises(FrameError) as told:
        video.read_depth(tmp_path / name, (64, 96))
    assert name in str(told.value) and "\n" not in str(told.value)


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


def test_a_folder_of_frames_says_what_is_wrong_with_it(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        video.list_frames(tmp_path / "none", video.IMAGES)
    with pytest.raises(UsageError, match="no frames here"):
        video.list_frames(tmp_path, video.IMAGES)
    for name in ("a.png", "a.jpg", "b.png", "b.bmp"):
        (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match=r"frame a; keep one\n.*frame b; keep one"):
        video.list_frames(tmp_path, video.IMAGES)
    with pytest.raises(UsageError, match="none of 2 frames can be read"):
        video.first_size([tmp_path / "a.png", tmp_path / "b.png"], video.read_image)
