"""What happens: visits, things picked up and put elsewhere, a drawer (host).

A script is planned forward in time from a generator and then unrolled to arrays
(`unroll`). No rendering, so that planning again until a benchmark's conditions hold
costs milliseconds.
"""

import itertools
from collections.abc import Collection, Sequence

import numpy as np

from egojax.data.world import head
from egojax.data.world.objects import Model
from egojax.data.world.plan import (
    PULL,
    Event,
    Groups,
    Plan,
    Visit,
    ease,
    free_place,
    spot_on,
    start_plan,
)
from egojax.data.world.room import Room
from egojax.data.world.unroll import Script, head_path, unroll
from egojax.ops.camera import camera_centers

REACH, CARRY, RETREAT, SLIDE = 0.5, 1.1, 0.45, 0.5  # Seconds of the parts of an event.


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
    handled: Collection[int] | None = None,
) -> Script:
    """Plans and unrolls a script.

    Args:
      models: The K objects.
      stations: (K,) the station where each starts.
      clusters: Objects (positions in `models`) that start within 0.4 m of each other.
      visits: Where the wearer is when; default: drawn.
      camera_path: World-to-camera poses (T, 4, 4) in the room instead of a drawn path.
      handled: Objects that the hand may take; None = all.

    Raises:
      Conflict: The objects did not fit; try another generator state.
    """
    if camera_path is not None:
        visits = _visits_of_path(camera_path, room, fps)
    elif visits is None:
        visits = draw_visits(rng, num_frames, fps, len(room.stations))
    stand = _stand(rng, room, visits, num_frames, fps)
    if camera_path is not None:
        stand = camera_centers(camera_path)[:, :2]
    plan = start_plan(rng, room, models, stations, clusters, num_frames, fps)
    plan.stand, plan.hold = stand, _carrying_place(room, visits, stand, fps)
    plan.handled = range(len(models)) if handled is None else handled
    if camera_path is not None:
        plan.arm = 0.7  # A given head does not lean.
    _plan_events(plan, visits)
    w2c = camera_path
    if w2c is None:
        w2c = head_path(plan, visits, stand)
    return unroll(plan, w2c)


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
    eye, look = camera_centers(w2c), w2c[:, 2, :3]
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


def _plan_events(plan: Plan, visits: Sequence[Visit]) -> None:
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


def _handle(plan: Plan, t: int, station: int) -> int:
    """Takes a thing to another place at the station; returns when that is done."""
    obj = _choose(plan, t, station)
    if obj < 0:
        return t + plan.frames(1.0)
    spot = _place_in_reach(plan, t, obj, station)
    # Without a place it is looked at from all sides and put back.
    spot = plan.positions[t, obj].copy() if spot is None else spot
    return _carry(plan, t, obj, spot)


def _place_in_reach(plan: Plan, t: int, obj: int, station: int) -> np.ndarray | None:
    """A free place that the hand gets to, below the wall shelf."""
    release = min(t + plan.frames(REACH + CARRY), len(plan.stand) - 1)
    for _ in range(8):
        spot = free_place(plan, t, obj, station)
        if spot is None or spot[2] > 1.2:
            continue
        if _distance(plan, release, spot) < plan.arm:
            return spot
    return None


def _carry(plan: Plan, t: int, obj: int, spot: np.ndarray) -> int:
    """The hand brings an object to a spot; returns when the hand is gone."""
    grasp = t + plan.frames(REACH)
    release = grasp + plan.frames(CARRY)
    start = plan.positions[grasp, obj].copy()
    turn = plan.rng.uniform(-2.0, 2.0)
    share = ease(np.arange(grasp, release) - grasp, release - grasp)
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


def _choose(plan: Plan, t: int, station: int) -> int:
    """An object at the station within the hand's reach at frame t, or -1."""
    here = [
        k
        for k, at in enumerate(plan.station_of)
        if at == station and not plan.inside[t, k] and plan.positions[t, k, 2] < 1.2
    ]
    here = [k for k in here if k in plan.handled]
    near = [k for k in here if _distance(plan, t, plan.positions[t, k]) < plan.arm]
    return int(plan.rng.choice(near)) if near else -1


def _distance(plan: Plan, t: int, point: np.ndarray) -> float:
    """From where the wearer stands at frame t, over the floor."""
    return float(np.linalg.norm(plan.stand[t] - point[:2]))


def _use_drawer(plan: Plan, t: int) -> int:
    """Opens it, puts something in or takes it out, closes it again."""
    t = _slide(plan, t, 1.0)
    content = np.flatnonzero(plan.inside[t])
    t = _take_out(plan, t, int(content[0])) if len(content) else _put_in(plan, t)
    return _slide(plan, t, 0.0)


def _take_out(plan: Plan, t: int, obj: int) -> int:
    spot = _place_in_reach(plan, t, obj, 0)
    if spot is None:
        return t
    plan.positions[t:, obj] += PULL  # Out of the drawer's frame, into the world's.
    plan.inside[t:, obj] = False
    return _carry(plan, t, obj, spot)


def _put_in(plan: Plan, t: int) -> int:
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
    spot = spot_on(plan.rng, plan.room.drawer_floor, plan.models[obj].radius)
    t = _carry(plan, t, obj, spot + PULL)
    release = plan.events[-1].times[2]
    plan.positions[release:, obj] = spot
    plan.inside[release:, obj] = True
    return t


def _slide(plan: Plan, t: int, goal: float) -> int:
    """The hand takes the drawer's handle and moves it."""
    grasp = min(t + plan.frames(0.3), len(plan.opened) - 2)
    release = min(grasp + plan.frames(SLIDE), len(plan.opened) - 1)
    share = ease(np.arange(grasp, release) - grasp, release - grasp)
    plan.opened[grasp:release] = plan.opened[grasp] + share * (
        goal - plan.opened[grasp]
    )
    plan.moving[grasp:release] |= plan.inside[grasp:release]
    plan.opened[release:] = goal
    plan.events.append(Event(-1, (t, grasp, release, release + plan.frames(0.3))))
    return release + plan.frames(0.15)


def _move_unseen(plan: Plan, visit: Visit, visits: Sequence[Visit]) -> None:
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
    spot = free_place(plan, start, obj, plan.station_of[obj])
    if spot is None:
        return
    share = ease(np.arange(stop - start), stop - start)[:, None]
    begin = plan.positions[start, obj].copy()
    path = begin + share * (spot - begin)
    path[:, 2] += 0.25 * np.sin(np.pi * share[:, 0])
    plan.positions[start:stop, obj] = path
    plan.positions[stop:, obj] = spot
    plan.moving[start:stop, obj] = True
