"""What the 3D viewers of all jobs share: a server, the scene, cameras, a clock."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from egojax.apps import scene
from egojax.data.runs import RunFolder
from egojax.errors import UsageError
from egojax.task import Task
from egojax.types import Clip

TICK = 0.1  # Seconds between two frames that are shown while playing.
POINT_COLOR = (150, 150, 150)
PATH_COLOR = (40, 90, 200)
FRUSTUM = 0.04  # Metres, of a camera of the path.


class Running(Protocol):
    """A viewer that listens."""

    @property
    def port(self) -> int: ...

    def stop(self) -> None: ...


def finished_clips(task: Task, folder: RunFolder, name: str) -> list[str]:
    """The clips of a run that have a file of this name.

    Raises:
      UsageError: none has.
    """
    files = {clip: folder.path / "clips" / clip / name for clip in task.clips}
    done = [clip for clip, path in files.items() if path.exists()]
    if not done:
        missing = next(iter(files.values()))
        raise UsageError(
            f"{missing}: not there yet; run the same command without --mode"
        )
    return done


def wait(viewer: Running, host: str, done: list[str]) -> int:
    """Says where the viewer is, and serves until Ctrl-C."""
    print(
        f"viewer: http://{host}:{viewer.port} shows {done[0]} (Ctrl-C ends it)",
        flush=True,
    )
    if done[1:]:
        print(f"others: --config.data.clips=NAME, of {', '.join(done[1:])}", flush=True)
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return 0
    finally:
        viewer.stop()


def start(host: str, port: int, docked: bool = False) -> Any:
    """A viser server, its controls over the scene, or docked beside it.

    Port 0 takes any free one.

    Raises:
      UsageError: the extra `viz` is not installed, or the port is taken.
    """
    try:
        import viser
    except ImportError as err:
        raise UsageError(
            'the viewer needs the extra: pip install "egojax[viz]"'
        ) from err
    port = _free_port(host, port)
    # It greets on standard output; we say where it is ourselves.
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=port, verbose=False)
    server.gui.configure_theme(show_share_button=False, show_logo=False)
    if docked:
        server.gui.main_panel.dock_right()
    return server


def _free_port(host: str, port: int) -> int:
    """The port itself, or any free one for 0; viser would silently take another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as err:
            raise UsageError(
                f"the viewer cannot listen on {host}:{port} ({err}); "
                "give a free port: --config.view.port=0 takes any"
            ) from None
        return probe.getsockname()[1]


class Clock:
    """The slider of time, and the box that moves it."""

    def __init__(
        self, gui: Any, num_frames: int, fps: float, show: Callable[[int], None]
    ):
        self._last = num_frames - 1
        self._step = max(1, round(TICK * fps))
        self._show = show
        self._stopped = threading.Event()
        self._slider = gui.add_slider("frame", 0, max(1, self._last), 1, 0)
        self._playing = gui.add_checkbox("play", False)
        self._slider.on_update(lambda _: show(self.now))
        self._player = threading.Thread(
            target=self._run, name="viewer-play", daemon=True
        )

    @property
    def now(self) -> int:
        """The frame that the slider stands at."""
        return min(int(self._slider.value), self._last)

    def start(self) -> None:
        """From now on the box moves the slider."""
        self._player.start()

    def set(self, t: int) -> None:
        """Moves the slider, which shows the frame."""
        self._slider.value = t

    def play(self, on: bool = True) -> None:
        """Starts or stops playing, as the box does."""
        self._playing.value = on

    def stop(self) -> None:
        """Ends playing for good."""
        self._stopped.set()
        self._player.join()

    def _run(self) -> None:
        while not self._stopped.wait(TICK):
            if self._playing.value:
                t = self.now + self._step
                self.set(t if t <= self._last else 0)


def shower(box: Any, handle: Any) -> Callable[[Any], None]:
    """Shows and hides a part of the scene as its box says."""

    def update(_: Any) -> None:
        handle.visible = box.value

    return update


def add_scene(server: Any, clip: Clip, visible: bool = True) -> Any:
    """Returns the handle of the mesh or points, metres; None without both."""
    if clip.mesh is not None and len(clip.mesh.faces):
        import trimesh

        mesh = trimesh.Trimesh(
            clip.mesh.vertices * clip.metric_scale,
            clip.mesh.faces,
            vertex_colors=clip.mesh.colors,
            process=False,
        )
        return server.scene.add_mesh_trimesh(
            "/scene", mesh, cast_shadow=False, visible=visible
        )
    surface = scene.surface_points(clip)
    if surface is None:
        return None
    points = surface.points.astype(np.float32)
    return server.scene.add_point_cloud(
        "/scene", points, POINT_COLOR, point_size=0.01, visible=visible
    )


def add_path(server: Any, centers: np.ndarray) -> Any:
    """Returns the handle of the whole path, with the line through the centers."""
    root = server.scene.add_frame("/camera", show_axes=False)
    line = segments(centers)
    if len(line):
        server.scene.add_line_segments(
            "/camera/path", line, PATH_COLOR, thickness=0.005
        )
    return root


def add_frustum(
    server: Any,
    name: str,
    c2w: np.ndarray,
    fov_y: float,
    size_hw: tuple[int, int],
    color: tuple[int, int, int] = PATH_COLOR,
) -> Any:
    """Returns the handle of a camera of the path."""
    wxyz, position = pose(c2w)
    return server.scene.add_camera_frustum(
        f"/camera/{name}",
        fov_y,
        size_hw[1] / size_hw[0],
        scale=FRUSTUM,
        thickness=0.002,
        color=color,
        cast_shadow=False,
        wxyz=wxyz,
        position=position,
    )


def segments(points: np.ndarray) -> np.ndarray:
    """A polyline as float32 (n - 1, 2, 3)."""
    return np.stack([points[:-1], points[1:]], axis=1).astype(np.float32)


def pose(c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The turn, (w, x, y, z), and the place of a camera (4, 4)."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(c2w[:3, :3]).as_quat()
    return np.roll(turn, 1), c2w[:3, 3]
