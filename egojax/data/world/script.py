"""What happens: visits, things picked up and put elsewhere, a drawer (host).

A script is planned forward in time from a generator, then unrolled to arrays: object
poses, the drawer, head poses, the hand's contact, the lights. No rendering, so that
planning again until a benchmark's conditions hold costs milliseconds.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from egojax.data.world import body, head
from egojax.data.world.objects import Model
from egojax.data.world.room import DRAWER_TRAVEL, TOP, Room, Surface

REACH, CARRY, RETREAT, SLIDE = 0.5, 1.1, 0.45, 0.5  # Seconds of the parts of an event.
MAX_LEAN = 0.3  # Metres that the head may pass the edge of the free floor.
PULL = np.array([0.0, -DRAWER_TRAVEL, 0.0])


class Visit(NamedTuple):
    """The wearer stands at a station from frame `start` to `stop`."""

    station: int
    start: int
    stop: int


class Event(NamedTuple):
    """The hand holds something: reach, hold, let go, retreat, by frame."""

    obj: int  # Index of the object; -1 = the drawer's handle.
    times: tuple[int, int, int, int]  # Reach begins, grasp, release, hand gone.


class Conflict(Exception):
    """No free place was found; plan again."""


@dataclasses.dataclass
class _Plan:
    """A script while it is planned; positions are always filled to the end."""

    rng: np.random.Generator
    room: Room
    models: Sequence[Model]
    fps: float
    positions: np.ndarray  # (T, K, 3)
    yaw: np.ndarray  # (T, K)
    moving: np.ndarray  # bool (T, K)
    inside: np.ndarray  # bool (T, K), rides in the drawer.
    opened: np.ndarray  # (T,), 0 = drawer closed, 1 = open.
    station_of: list[int]
    events: list[Event]
    hold: np.ndarray  # (T, 3), where the wearer carries things.
    stand: np.ndarray  # (T, 2), where the wearer stands.
    arm: float  # How far from there he can reach, metres.

    def frames(self, seconds: float) -> int:
        return max(1, round(seconds * self.fps))


@dataclasses.dataclass(frozen=True)
class Script:
    """Everything that changes over time, as arrays."""

    w2c: np.ndarray  # float64 (T, 4, 4)
    object_poses: np.ndarray  # float64 (T, K, 4, 4), object to world.
    drawer_poses: np.ndarray  # float64 (T, 4, 4)
    arm_poses: np.ndarray  # float64 (T, L, 4, 4)
    motion: np.ndarray  # int8 (T, K): 0 at rest, 1 moved before, 2 moving.
    shut_in: np.ndarray  # bool (T, K): lies in the closed drawer.
    light: np.ndarray  # float32 (T, 2): strength of the window and of the lamp.


Groups = Sequence[Sequence[int]]


def make_script(
    rng: np.random.Generator,
    room: Room,
    models: Sequence[Model],
    stations: Sequence[int],
    num_frames: int,
    fps: float,
    *,
    clusters: Groups = (),
    visits: Sequence[Visit] | None = None,
    camera_path: np.ndarray | None = None,
) -> Script:
    """Plans and unrolls a script.

    Args:
      models: The K objects.
      stations: (K,) the station where each starts.
      clusters: Objects (positions in `models`) that start within 0.4 m of each other.
      visits: Where the wearer is when; default: drawn.
      camera_path: World-to-camera poses (T, 4, 4) in the room instead of a drawn path.

    Raises:
      Conflict: The objects did not fit; try another generator state.
    """
    if camera_path is not None:
        visits = _visits_of_path(camera_path, room, fps)
    elif visits is None:
        visits = draw_visits(rng, num_frames, fps, len(room.stations))
    stand = _stand(rng, room, visits, num_frames, fps)
    if camera_path is not None:
        stand = head.eyes(camera_path)[:, :2]
    plan = _start(rng, room, models, stations, clusters, num_frames, fps)
    plan.stand, plan.hold = stand, _carrying_place(room, visits, stand, fps)
    if camera_path is not None:
        plan.arm = 0.7  # A given head does not lean.
    _plan_events(plan, visits)
    w2c = camera_path
    if w2c is None:
        w2c = _head_path(plan, visits, stand)
    return _unroll(plan, w2c)


def draw_visits(
    rng: np.random.Generator, num_frames: int, fps: float, num_stations: int
) -> list[Visit]:
    """Visits of 2.5 to 4.5 s; a short clip looks away once and comes back."""
    if num_frames < 5 * fps:
        cuts = [0, round(0.62 * num_frames), round(0.82 * num_frames), num_frames]
        spans = zip((0, 1, 0), itertools.pairwise(cuts), strict=True)
        return [Visit(s, a, b) for s, (a, b) in spans if b > a]
    visits, start, station = [], 0, 0
    while start < num_frames:
        stop = start + round(rng.uniform(2.5, 4.5) * fps)
        stop = num_frames if num_frames - stop < 1.5 * fps else stop
        visits.append(Visit(station, start, stop))
        station = int(rng.choice([s for s in range(num_stations) if s != station]))
        start = stop
    return visits


def _visits_of_path(w2c: np.ndarray, room: Room, fps: float) -> list[Visit]:
    """Which station a given head path looks at, in runs."""
    eye, look = head.eyes(w2c), w2c[:, 2, :3]
    to = np.array([s.target for s in room.stations])[None] - eye[:, None]
    to /= np.linalg.norm(to, axis=-1, keepdims=True)
    nearest = np.argmax(np.einsum("tsi,ti->ts", to, look), -1)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(nearest)) + 1, [len(w2c)]])
    return [Visit(int(nearest[a]), int(a), int(b)) for a, b in itertools.pairwise(cuts)]


def _stand(
    rng: np.random.Generator,
    room: Room,
    visits: Sequence[Visit],
    num_frames: int,
    fps: float,
) -> np.ndarray:
    """The body on the floor, (T, 2), inside the free floor."""
    goal = np.empty((num_frames, 2))
    for visit in visits:
        goal[visit.start : visit.stop] = room.stations[visit.station].stand
    goal += 0.06 * head.sway(rng, num_frames, fps, 2)
    half = np.asarray(room.half) - 0.02
    return head.follow(np.clip(goal, -half, half), fps, 0.55)


def _carrying_place(
    room: Room, visits: Sequence[Visit], stand: np.ndarray, fps: float
) -> np.ndarray:
    """In front of the chest, (T, 3), turning with the body."""
    front = np.empty((len(stand), 2))
    for visit in visits:
        front[visit.start : visit.stop] = room.stations[visit.station].target[:2]
    ahead = head.follow(front, fps, 0.5) - stand
    ahead /= np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 0.2)
    side = np.stack([ahead[:, 1], -ahead[:, 0]], -1)
    return np.concatenate(
        [stand + 0.36 * ahead + 0.05 * side, np.full((len(stand), 1), 1.13)], -1
    )


# --------------------------------------------------------------------- where things are


def _start(
    rng: np.random.Generator,
    room: Room,
    models: Sequence[Model],
    stations: Sequence[int],
    clusters: Groups,
    num_frames: int,
    fps: float,
) -> _Plan:
    count = len(models)
    plan = _Plan(
        rng=rng,
        room=room,
        models=models,
        fps=fps,
        positions=np.full((num_frames, count, 3), np.inf),
        yaw=np.tile(rng.uniform(-np.pi, np.pi, count), (num_frames, 1)),
        moving=np.zeros((num_frames, count), bool),
        inside=np.zeros((num_frames, count), bool),
        opened=np.zeros(num_frames),
        station_of=list(stations),
        events=[],
        hold=np.zeros((num_frames, 3)),
        stand=np.zeros((num_frames, 2)),
        arm=0.6 + MAX_LEAN,
    )
    for group in clusters:
        _place_cluster(plan, group)
    rest = [k for k in range(count) if not np.isfinite(plan.positions[0, k, 0])]
    for k in sorted(rest, key=lambda k: -models[k].radius):  # The large ones first.
        if clusters:
            plan.positions[:, k] = _must_place(plan, k)
        else:
            _place_anywhere(plan, k)
    return plan


def _place_cluster(plan: _Plan, group: Sequence[int]) -> None:
    """The members within 0.4 m of each other, in a circle of 0.2 m."""
    for _ in range(60):
        first = _must_place(plan, group[0])
        center = first + np.append(plan.rng.uniform(-0.1, 0.1, 2), 0.0)
        spots = [first]
        plan.positions[:, group[0]] = first
        for k in group[1:]:
            spot = _free_place(
                plan,
                0,
                k,
                plan.station_of[k],
                near=(center, 0.19),
                tries=40,
            )
            if spot is None:
                break
            plan.positions[:, k] = spot
            spots.append(spot)
        if len(spots) == len(group) and np.linalg.norm(first - center) < 0.19:
            return
        plan.positions[:, list(group)] = np.inf
    raise Conflict


def _free_place(
    plan: _Plan,
    t: int,
    k: int,
    station: int,
    *,
    near: tuple[np.ndarray, float] | None = None,
    tries: int = 300,
) -> np.ndarray | None:
    """A spot at a station where object k stands free at frame t."""
    model = plan.models[k]
    height = float(model.shape.extent[1, 2])
    fits = [
        s
        for s in plan.room.surfaces
        if s.station == station
        and height < s.clear
        and 2 * model.radius < min(_size(s)) + 0.12
    ]
    if not fits:
        return None
    share = np.array([np.prod(_size(s)) for s in fits])
    for _ in range(tries):
        surface = fits[int(plan.rng.choice(len(fits), p=share / share.sum()))]
        spot = _spot(plan.rng, surface, model.radius)
        if near is not None and np.linalg.norm(spot - near[0]) > near[1]:
            continue
        if _is_free(plan, t, k, spot):
            return spot
    return None


def _place_anywhere(plan: _Plan, k: int) -> None:
    """Places object k at its station, or at another one where there is room."""
    count = len(plan.room.stations)
    for shift in range(count):
        station = (plan.station_of[k] + shift) % count
        spot = _free_place(plan, 0, k, station, tries=150)
        if spot is not None:
            plan.positions[:, k], plan.station_of[k] = spot, station
            return
    raise Conflict


def _must_place(plan: _Plan, k: int) -> np.ndarray:
    """A free spot for object k at its station in the first frame, or Conflict."""
    spot = _free_place(plan, 0, k, plan.station_of[k])
    if spot is None:
        raise Conflict
    return spot


def _size(surface: Surface) -> np.ndarray:
    return np.subtract(surface.high, surface.low)


def _spot(rng: np.random.Generator, surface: Surface, radius: float) -> np.ndarray:
    """A random place whose circle lies on the surface (or as nearly as it can)."""
    low, high = np.asarray(surface.low), np.asarray(surface.high)
    inset = np.minimum(radius - 0.03, 0.5 * (high - low))
    return np.array([*rng.uniform(low + inset, high - inset), surface.z + 5e-4])


def _is_free(plan: _Plan, t: int, k: int, spot: np.ndarray) -> bool:
    """No other object's circle reaches here, now or where it will be put later."""
    radii = np.array([m.radius for m in plan.models]) + plan.models[k].radius + 0.008
    for at in (t, len(plan.positions) - 1):
        other = plan.positions[at]
        near = np.hypot(*(other[:, :2] - spot[:2]).T) < radii
        near &= np.abs(other[:, 2] - spot[2]) < 0.17
        near[k] = False
        if near.any():
            return False
    return True


# ---------------------------------------------------------------------- what happens


def _plan_events(plan: _Plan, visits: Sequence[Visit]) -> None:
    """Fills every visit with as much handling as fits; others move things unseen."""
    drawer_used = False
    for n, visit in enumerate(visits):
        t = visit.start + plan.frames(0.35)
        long_enough = visit.stop - t > plan.frames(4.1)
        if (
            visit.station == 0
            and long_enough
            and (not drawer_used or plan.inside[t].any())
        ):
            t = _use_drawer(plan, t)
            drawer_used = True
        while t + plan.frames(REACH + CARRY + RETREAT) < visit.stop:
            t = _handle(plan, t, visit.station) + plan.frames(
                plan.rng.uniform(0.2, 0.7)
            )
        if n and plan.rng.random() < 0.5:
            _move_unseen(plan, visit, visits)


def _handle(plan: _Plan, t: int, station: int) -> int:
    """Takes a thing to another place at the station; returns when that is done."""
    obj = _choose(plan, t, station)
    if obj < 0:
        return t + plan.frames(1.0)
    spot = _place_in_reach(plan, t, obj, station)
    # Without a place it is looked at from all sides and put back.
    spot = plan.positions[t, obj].copy() if spot is None else spot
    return _carry(plan, t, obj, spot)


def _place_in_reach(plan: _Plan, t: int, obj: int, station: int) -> np.ndarray | None:
    """A free place that the hand gets to, below the wall shelf."""
    release = min(t + plan.frames(REACH + CARRY), len(plan.stand) - 1)
    for _ in range(8):
        spot = _free_place(plan, t, obj, station)
        if spot is None or spot[2] > 1.2:
            continue
        if _distance(plan, release, spot) < plan.arm:
            return spot
    return None


def _carry(plan: _Plan, t: int, obj: int, spot: np.ndarray) -> int:
    """The hand brings an object to a spot; returns when the hand is gone."""
    grasp = t + plan.frames(REACH)
    release = grasp + plan.frames(CARRY)
    start = plan.positions[grasp, obj].copy()
    turn = plan.rng.uniform(-2.0, 2.0)
    share = _ease(np.arange(grasp, release) - grasp, release - grasp)
    lift = np.sin(np.pi * np.linspace(0.0, 1.0, release - grasp)) ** 0.8
    path = start + share[:, None] * (spot - start)
    path[:, 2] += 0.14 * lift
    pulled = 0.45 * lift[:, None]
    path = path * (1.0 - pulled) + plan.hold[grasp:release] * pulled
    plan.positions[grasp:release, obj] = path
    plan.positions[release:, obj] = spot
    plan.yaw[grasp:release, obj] = plan.yaw[grasp, obj] + turn * share
    plan.yaw[release:, obj] = plan.yaw[grasp, obj] + turn
    plan.moving[grasp:release, obj] = True
    gone = release + plan.frames(RETREAT)
    plan.events.append(Event(obj, (t, grasp, release, gone)))
    return gone


def _choose(plan: _Plan, t: int, station: int) -> int:
    """An object at the station within the hand's reach at frame t, or -1."""
    here = [
        k
        for k, at in enumerate(plan.station_of)
        if at == station and not plan.inside[t, k] and plan.positions[t, k, 2] < 1.2
    ]
    near = [k for k in here if _distance(plan, t, plan.positions[t, k]) < plan.arm]
    return int(plan.rng.choice(near)) if near else -1


def _distance(plan: _Plan, t: int, point: np.ndarray) -> float:
    """From where the wearer stands at frame t, over the floor."""
    return float(np.linalg.norm(plan.stand[t] - point[:2]))


def _use_drawer(plan: _Plan, t: int) -> int:
    """Opens it, puts something in or takes it out, closes it again."""
    t = _slide(plan, t, 1.0)
    content = np.flatnonzero(plan.inside[t])
    t = _take_out(plan, t, int(content[0])) if len(content) else _put_in(plan, t)
    return _slide(plan, t, 0.0)


def _take_out(plan: _Plan, t: int, obj: int) -> int:
    spot = _place_in_reach(plan, t, obj, 0)
    if spot is None:
        return t
    plan.positions[t:, obj] += PULL  # Out of the drawer's frame, into the world's.
    plan.inside[t:, obj] = False
    return _carry(plan, t, obj, spot)


def _put_in(plan: _Plan, t: int) -> int:
    small = [
        k
        for k, m in enumerate(plan.models)
        if plan.station_of[k] == 0
        and m.shape.extent[1, 2] < 0.115
        and m.radius < 0.155
        and plan.positions[t, k, 2] < 1.2
        and _distance(plan, t, plan.positions[t, k]) < plan.arm
    ]
    if not small:
        return t
    obj = int(plan.rng.choice(small))
    spot = _spot(plan.rng, plan.room.drawer_floor, plan.models[obj].radius)
    t = _carry(plan, t, obj, spot + PULL)
    release = plan.events[-1].times[2]
    plan.positions[release:, obj] = spot
    plan.inside[release:, obj] = True
    return t


def _slide(plan: _Plan, t: int, goal: float) -> int:
    """The hand takes the drawer's handle and moves it."""
    grasp = min(t + plan.frames(0.3), len(plan.opened) - 2)
    release = min(grasp + plan.frames(SLIDE), len(plan.opened) - 1)
    share = _ease(np.arange(grasp, release) - grasp, release - grasp)
    plan.opened[grasp:release] = plan.opened[grasp] + share * (
        goal - plan.opened[grasp]
    )
    plan.moving[grasp:release] |= plan.inside[grasp:release]
    plan.opened[release:] = goal
    plan.events.append(Event(-1, (t, grasp, release, release + plan.frames(0.3))))
    return release + plan.frames(0.15)


def _move_unseen(plan: _Plan, visit: Visit, visits: Sequence[Visit]) -> None:
    """Somebody else moves a thing at another station while the wearer looks away."""
    away = [
        k
        for k, s in enumerate(plan.station_of)
        if s != visit.station
        and any(v.station == s and v.start >= visit.stop for v in visits)
        and not plan.inside[visit.start, k]
    ]
    start = visit.start + plan.frames(1.0)
    stop = min(visit.stop - plan.frames(0.6), start + plan.frames(0.8))
    if not away or stop - start < 3:
        return
    obj = int(plan.rng.choice(away))
    spot = _free_place(plan, start, obj, plan.station_of[obj])
    if spot is None:
        return
    share = _ease(np.arange(stop - start), stop - start)[:, None]
    begin = plan.positions[start, obj].copy()
    path = begin + share * (spot - begin)
    path[:, 2] += 0.25 * np.sin(np.pi * share[:, 0])
    plan.positions[start:stop, obj] = path
    plan.positions[stop:, obj] = spot
    plan.moving[start:stop, obj] = True


def _ease(step: np.ndarray, count: int) -> np.ndarray:
    """Minimum-jerk progress from 0 to 1."""
    s = np.clip((step + 1) / max(count, 1), 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s * s)


# -------------------------------------------------------------------------- unrolling


def _head_path(plan: _Plan, visits: Sequence[Visit], stand: np.ndarray) -> np.ndarray:
    """Looks about the station, follows what the hand does, sways and bobs."""
    rng, num_frames = plan.rng, len(stand)
    target, height = np.empty((num_frames, 3)), np.zeros(num_frames)
    for visit in visits:
        center = np.array(plan.room.stations[visit.station].target)
        t = visit.start
        while t < visit.stop:
            stop = min(visit.stop, t + plan.frames(rng.uniform(0.7, 1.5)))
            wander = rng.normal(0.0, 1.0, 3) * (0.16, 0.1, 0.05)
            wander = wander if visit.station != 1 else wander[[1, 0, 2]]
            target[t:stop] = center + wander
            t = stop
    held = _contact(plan)
    for event in plan.events:
        t0, _, _, t1 = event.times
        t0 = max(0, t0 - plan.frames(0.15))
        target[t0:t1] = 0.3 * target[t0:t1] + 0.7 * held(event)[t0:t1]
    gaze = head.follow(target, plan.fps, 0.36)
    height = head.EYE_HEIGHT + head.bobbing(stand, plan.fps)
    height += 0.02 * head.sway(rng, num_frames, plan.fps, 1)[:, 0]
    turn = head.sway(rng, num_frames, plan.fps, 3) * (0.05, 0.06, 0.06)
    lean = _lean(plan, stand)
    height -= 0.25 * np.linalg.norm(lean, axis=-1)
    return head.look_at(np.column_stack([stand + lean, height]), gaze, turn)


def _lean(plan: _Plan, stand: np.ndarray) -> np.ndarray:
    """How far the head bends over the furniture for what is out of reach, (T, 2)."""
    lean, of = np.zeros_like(stand), _contact(plan)
    for event in plan.events:
        span = slice(event.times[0], event.times[2])
        to = of(event)[span, :2] - stand[span]
        dist = np.maximum(np.linalg.norm(to, axis=-1, keepdims=True), 1e-6)
        lean[span] = to / dist * np.clip(dist - 0.5, 0.0, MAX_LEAN)
    return head.follow(lean, plan.fps, 0.5)


def _contact(plan: _Plan) -> Callable[[Event], np.ndarray]:
    """Where the hand touches what an event is about, (T, 3), still before and after."""
    opened = plan.opened[:, None] * PULL
    front = np.array(plan.room.drawer_floor.low) + np.array(plan.room.drawer_floor.high)
    handle = np.array([front[0] / 2, plan.room.half[1] + 0.10, TOP - 0.11])

    def of(event: Event) -> np.ndarray:
        _, grasp, release, _ = event.times
        if event.obj < 0:
            path = handle + opened
        else:
            path = (
                plan.positions[:, event.obj] + plan.inside[:, event.obj, None] * opened
            )
            c, s = np.cos(plan.yaw[:, event.obj]), np.sin(plan.yaw[:, event.obj])
            x, y, z = plan.models[event.obj].grip
            path = path + np.stack([c * x - s * y, s * x + c * y, z + 0 * c], -1)
        last = len(path) - 1
        return path[np.clip(np.arange(len(path)), min(grasp, last), min(release, last))]

    return of


def _hand(plan: _Plan, w2c: np.ndarray) -> np.ndarray:
    """Poses of the arm's links over the script."""
    eye, fps = head.eyes(w2c), plan.fps
    ahead = head.follow(w2c[:, 2, :2], fps, 0.3)
    ahead = np.concatenate([ahead, np.zeros((len(ahead), 1))], -1)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-6)
    right, up = np.cross(ahead, [0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])
    shoulder = eye + 0.21 * right - 0.36 * up - 0.14 * ahead
    rest = shoulder - 0.5 * up + 0.08 * ahead
    weight, curl = np.zeros(len(eye)), np.full(len(eye), 0.35)
    wrist, palm_to = rest.copy(), rest + 0.1 * ahead - 0.1 * up
    of = _contact(plan)
    for event in plan.events:
        t0, grasp, release, t1 = (min(t, len(eye)) for t in event.times)
        contact = of(event)
        above = contact + 0.085 * up - 0.085 * ahead + 0.035 * right
        w = np.zeros(len(eye))
        w[t0:grasp] = _ease(np.arange(grasp - t0), grasp - t0)
        w[grasp:release] = 1.0
        w[release:t1] = _ease(np.arange(t1 - release), t1 - release)[::-1]
        is_first = (w >= weight)[:, None]
        arc = above + (np.sin(np.pi * w) * 0.06)[:, None] * up
        wrist = np.where(is_first, rest + w[:, None] * (arc - rest), wrist)
        palm_to = np.where(is_first, contact, palm_to)
        grip = np.where(
            (np.arange(len(eye)) >= grasp) & (np.arange(len(eye)) < release), 0.72, 0.3
        )
        curl = np.where(is_first[:, 0] & (w > 0), grip, curl)
        weight = np.maximum(weight, w)
    curl = head.follow(curl[:, None], fps, 0.1)[:, 0]
    forward = palm_to - wrist
    forward = np.where(weight[:, None] > 0, forward, ahead - 0.6 * up)
    return body.pose_arm(
        shoulder, wrist, forward, up + 0.35 * right + 0.15 * ahead, curl
    )


def _unroll(plan: _Plan, w2c: np.ndarray) -> Script:
    num_frames, count = plan.yaw.shape
    pull = plan.opened[:, None] * PULL
    at = plan.positions + plan.inside[..., None] * pull[:, None]
    c, s, o = np.cos(plan.yaw), np.sin(plan.yaw), np.zeros_like(plan.yaw)
    rot = np.stack([c, -s, o, s, c, o, o, o, o + 1.0], -1).reshape(
        num_frames, count, 3, 3
    )
    drawer = head.rigid(np.broadcast_to(np.eye(3), (num_frames, 3, 3)), pull)
    before = np.maximum.accumulate(plan.moving, axis=0)
    wave = head.sway(plan.rng, num_frames, plan.fps / 0.12, 1)[:, 0]
    dusk = 1.0 + 0.3 * wave
    switch = plan.rng.uniform(0.35, 0.75) * num_frames
    lamp_on = 0.5 + 0.5 * np.tanh(0.4 * (np.arange(num_frames) - switch))
    lamp = 0.55 + 0.6 * (lamp_on if plan.rng.random() < 0.5 else 1.0 - lamp_on)
    return Script(
        w2c=w2c,
        object_poses=head.rigid(rot, at),
        drawer_poses=drawer,
        arm_poses=_hand(plan, w2c),
        motion=np.where(plan.moving, 2, before).astype(np.int8),
        shut_in=plan.inside & (plan.opened[:, None] < 0.25),
        light=np.stack([dusk, lamp], -1).astype(np.float32),
    )
