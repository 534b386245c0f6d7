"""Checks of a driver from recorded samples: pure functions from samples to a verdict, without ROS.

Checks that need no motion; `motion_checks` judges motions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mql_ros.grasping.perception.height_map import HeightMap
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array

NEAR_HOME = 0.3
"""Largest distance of a joint from home, rad; interchanged joint names then show, or do no harm."""
STILL = 0.01
"""Largest motion of a joint at rest, rad."""
STILL_SPEED = 0.05
"""Largest reported speed of a joint at rest, rad/s."""
RATE_SHARE = 0.8
"""Least rate of joint_states, as a fraction of one per control period."""
LEAST = 5
"""Least number of joint states for a verdict."""
MISSING_SHARE = 0.05
"""Largest fraction of control periods without joint_states."""
PROMPT = 0.1
"""Largest age of joint states and wrench, as in the policy server, s."""
IMAGE_AGE = 0.4
"""Largest age of a depth image on arrival, s: views are acted on for `stale_after` of the policy server, 0.5 s."""
EARLY = 0.02
"""How far in the future a stamp may lie, s: the clocks of two machines differ."""
IMAGE_RATE = 2.0
"""Least rate of depth images, Hz: a trial begins with two of them."""
GAPS, WHOLE = "gaps and jitter", "measurements"
WIDTH_SHARE = 0.1
"""Largest error of the reported finger opening, as a fraction of the widest."""


@dataclass(frozen=True)
class Verdict:
    """Result of one check."""

    check: str
    passed: bool | None
    """None if the check could not be made."""
    text: str
    """Finding with figures; if the check failed, what is wrong."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the result as a line for the terminal."""
        word = {True: "pass", False: "FAIL", None: "----"}[self.passed]
        return f"{word}  {self.check:<18} {self.text}"


@dataclass(frozen=True)
class JointRecord:
    """Messages of joint_states during some time."""

    arrivals: Array
    """Arrival of each message [m], s, on the clock that the stamps are compared with."""
    stamps: Array
    """[m], s."""
    positions: Array
    """Arm joints in profile order [m, n], rad."""
    velocities: Array
    """[m, n], rad/s."""
    widths: Array
    """Opening of the fingers [m], m."""
    has_velocities: bool = True
    """False if the driver reports no velocities; they are optional."""


@dataclass(frozen=True)
class StreamRecord:
    """Messages of one topic during some time."""

    arrivals: Array
    stamps: Array
    frames: tuple[str, ...] = ()
    """Each frame_id that was seen."""
    complaints: tuple[str, ...] = ()
    """Why messages could not be used, other than their frame."""


@dataclass(frozen=True)
class CameraRecord:
    """Depth images during some time, and what perception makes of the newest."""

    images: StreamRecord
    has_info: bool
    """Whether camera info came."""
    encoding: str = ""
    complaint: str | None = None
    """Why perception cannot use the newest image; None if it can."""
    view: HeightMap | None = None
    """What lies on the table; None if nothing does."""


@dataclass(frozen=True)
class PassiveRecord:
    """All messages received while nothing was commanded."""

    names: tuple[str, ...]
    """Joint names as in joint_states."""
    complaints: tuple[str, ...]
    """Why joint_states could not be used."""
    joints: JointRecord
    camera: CameraRecord
    wrench: StreamRecord | None
    """None if nobody publishes it."""
    listeners: Mapping[str, int]
    """Subscribers by command topic."""
    watchdog: float
    """Time without messages after which the policy server stops the arm, s."""
    transform: bool | None = None
    """Whether TF connects base and tool frame; None if there is no TF."""


def passive_verdicts(profile: RobotProfile, passive: PassiveRecord) -> list[Verdict]:
    """Return the verdicts of all checks that need no motion, in the order of the report."""
    names = check_names(profile, passive.names, passive.complaints)
    if not names.passed:
        return [names]
    if (count := len(passive.joints.stamps)) < LEAST:
        return [names, Verdict("rate", False, f"joint_states came {count} times only; too few to judge")]
    units = check_units(profile, passive.joints)
    order = check_order(profile, passive.joints) if units.passed else _unchecked("joint order", units)
    still = check_stillness(profile, passive.joints) if units.passed else _unchecked("stands still", units)
    rate = check_rate(profile, passive.joints)
    gaps = check_regularity(profile, passive.joints, passive.watchdog) if rate.passed else _unchecked(GAPS, rate)
    parts = [rate, gaps, check_stamps(passive), check_camera(passive.camera), check_wrench(passive.wrench)]
    wrong = next((part for part in parts if not part.passed), None)
    whole = _unchecked(WHOLE, wrong) if wrong else check_measurements(profile, passive)
    return [
        names, units, order, still, *parts, whole, check_frames(profile, passive), check_listeners(passive.listeners)
    ]  # fmt: skip


def check_names(profile: RobotProfile, names: Sequence[str], complaints: Sequence[str]) -> Verdict:
    """Check that joint_states has every joint of arm and gripper once, with numbers."""
    check, wanted = "joint names", [*profile.joint_names, *profile.finger_names]
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = [name for name in wanted if name not in names]
    figures = {"names": list(names)}
    if twice:
        return Verdict(check, False, f"joint_states names {', '.join(twice)} more than once", figures)
    if missing:
        has = ", ".join(names) or "no names"
        return Verdict(check, False, f"joint_states lacks {', '.join(missing)}; it has {has}", figures)
    if complaints:
        return Verdict(check, False, complaints[0], figures)
    here = [name for name in names if name in wanted]
    how = "in the profile's order" if here == wanted else "in another order than the profile's, which is no fault"
    return Verdict(check, True, f"{len(wanted)} of {len(names)}, {how}", figures)


def check_units(profile: RobotProfile, record: JointRecord) -> Verdict:
    """Check that positions, speeds and widths are in rad, rad/s and m: magnitudes that this arm can have."""
    limits = {
        "angle": round(float(np.abs([profile.lower, profile.upper]).max()) + 0.1, 3),
        "speed": round(1.5 * float(profile.velocity.max()), 3),
        "width": round(profile.max_width * (1 + WIDTH_SHARE), 4),
    }
    figures = {
        "angle": round(float(np.abs(record.positions).max()), 3),
        "speed": round(float(np.abs(record.velocities).max()), 3),
        "width": round(float(np.abs(record.widths).max()), 4),
    }
    found = []
    if figures["angle"] > limits["angle"]:
        guess = " (degrees in place of radians?)" if np.deg2rad(figures["angle"]) < limits["angle"] else ""
        found.append(f"a joint stands at {figures['angle']:.2f} rad, farther than any limit of this arm{guess}")
    if figures["speed"] > limits["speed"]:
        found.append(f"a joint moves at {figures['speed']:.2f} rad/s, faster than this arm can")
    if figures["width"] > limits["width"] or record.widths.min() < -WIDTH_SHARE * profile.max_width:
        guess = " (millimetres in place of metres?)" if figures["width"] / 1000 < limits["width"] else ""
        found.append(f"the fingers are {figures['width']:.3f} m open; at most {profile.max_width:.3f} they can{guess}")
    text = "angles up to {angle:.2f} rad, speeds up to {speed:.3f} rad/s, fingers {width:.3f} m open".format(**figures)
    return Verdict("units and ranges", not found, "; ".join(found) or text, figures, limits)


def check_order(profile: RobotProfile, record: JointRecord) -> Verdict:
    """Check that positions belong to their names: the arm is near home, and every joint within its limits."""
    check, limits, home = "joint order", {"distance_from_home": NEAR_HOME}, profile.home
    place = np.median(record.positions, axis=0)
    away = np.abs(place - home)
    worst = int(np.argmax(away))
    figures = {"joint": profile.joint_names[worst], "distance_from_home": round(float(away[worst]), 3)}
    if away[worst] <= NEAR_HOME:
        text = f"every joint within {away[worst]:.3f} rad of its home (at most {NEAR_HOME})"
        return Verdict(check, True, text, figures, limits)
    by_value, by_home = np.argsort(place), np.argsort(home)
    if np.abs(place[by_value] - home[by_home]).max() <= NEAR_HOME:
        other = profile.joint_names[int(by_home[np.flatnonzero(by_value == worst)[0]])]
        text = (
            f"names and positions do not belong together: {profile.joint_names[worst]} is reported to stand at "
            f"{place[worst]:.2f} rad, where {other} should; in another order all would be near home"
        )
        return Verdict(check, False, text, figures, limits)
    text = (
        f"{profile.joint_names[worst]} stands at {place[worst]:.2f} rad, {away[worst]:.2f} from its home; bring the "
        f"arm to its home ({', '.join(f'{angle:.2f}' for angle in home)} rad), where the check begins"
    )
    return Verdict(check, False, text, figures, limits)


def check_stillness(profile: RobotProfile, record: JointRecord) -> Verdict:
    """Check that the arm is at rest, and that its reported velocities agree."""
    ways, speeds = np.ptp(record.positions, axis=0), np.abs(record.velocities).max(axis=0)
    figures = {"way": round(float(ways.max()), 4), "speed": round(float(speeds.max()), 4)}
    limits = {"way": STILL, "speed": STILL_SPEED}
    if ways.max() > STILL:
        joint = profile.joint_names[int(np.argmax(ways))]
        text = f"{joint} moved by {ways.max():.3f} rad; the arm must stand still, so stop whatever moves it"
    elif speeds.max() > STILL_SPEED:
        joint = profile.joint_names[int(np.argmax(speeds))]
        text = f"{joint} is reported to move at {speeds.max():.3f} rad/s, but its position stays"
    else:
        return Verdict(
            "stands still", True, "moved by {way} rad at up to {speed} rad/s".format(**figures), figures, limits
        )
    return Verdict("stands still", False, text, figures, limits)


def check_rate(profile: RobotProfile, record: JointRecord) -> Verdict:
    """Check that joint states arrive in each control period, apart from lost ones."""
    # Messages may arrive in bursts, and stamps may be missing.
    usual = 1.0 / max(_usual_step(record.stamps), _usual_step(record.arrivals), 1e-6)
    least = RATE_SHARE / profile.control_period
    figures = {"rate": round(_rate(record), 2), "usual": round(usual, 2)}
    text = f"joint_states at {usual:.1f} Hz (at least {least:.1f})"
    return Verdict("rate", usual >= least, text, figures, {"usual": round(least, 2)})


def check_regularity(profile: RobotProfile, record: JointRecord, watchdog: float) -> Verdict:
    """Check for few missing control periods by the stamps, arrival jitter below one period, and no long gap."""
    steps, waits = np.diff(record.stamps), np.diff(record.arrivals)
    # A slower driver is no gap, but a matter of the rate.
    period = max(_usual_step(record.stamps), profile.control_period)
    missed = float(np.maximum(np.round(steps / period) - 1, 0).sum())
    share = missed / max(float(np.abs(steps).sum()) / period, 1.0)
    jitter = float(np.percentile(np.abs(waits - np.median(waits)), 95))
    figures = {
        "missed": int(missed),
        "missed_share": round(share, 4),
        "jitter": round(jitter, 4),
        "longest": round(float(waits.max()), 3),
    }
    limits = {"missed_share": MISSING_SHARE, "jitter": profile.control_period, "longest": watchdog}
    text = (
        f"{share:.1%} of the periods without joint_states (at most {MISSING_SHARE:.0%}), jitter {jitter * 1000:.0f} ms "
        f"in 95 % (at most {profile.control_period * 1000:.0f}), longest gap {waits.max() * 1000:.0f} ms "
        f"(below the {milliseconds(watchdog)} of the watchdog)"
    )
    passed = share <= MISSING_SHARE and jitter <= profile.control_period and float(waits.max()) < watchdog
    return Verdict(GAPS, passed, text, figures, limits)


def check_stamps(passive: PassiveRecord) -> Verdict:
    """Check that stamps rise and differ from the arrival by no more than the largest age."""
    streams: dict[str, tuple[JointRecord | StreamRecord, float]]
    streams = {"joint_states": (passive.joints, PROMPT), "depth images": (passive.camera.images, IMAGE_AGE)}
    if passive.wrench is not None:
        streams["wrench"] = (passive.wrench, PROMPT)
    figures, limits, found = {}, {}, []
    for name, (record, oldest) in streams.items():
        if len(record.stamps) == 0:
            continue  # this has a check of its own
        age = float(np.median(record.arrivals - record.stamps))
        figures[name], limits[name] = round(age, 4), [-EARLY, oldest]
        if not record.stamps.all():
            found.append(f"{name} has no time stamps")
        elif not (np.diff(record.stamps) > 0).all():
            found.append(f"the stamps of {name} do not rise")
        elif age > oldest:
            found.append(
                f"{name} arrives {milliseconds(age)} after its stamp; at most {milliseconds(oldest)} are acted on"
            )
        elif age < -EARLY:
            found.append(
                f"the stamps of {name} lie {milliseconds(-age)} in the future; set the clocks of both machines (NTP)"
            )
    ages = ", ".join(f"{name} {milliseconds(age)}" for name, age in figures.items())
    return Verdict("time stamps", not found, "; ".join(found) or f"age on arrival: {ages}", figures, limits)


def check_camera(record: CameraRecord) -> Verdict:
    """Check that depth images with camera info come often enough, and that perception can use the newest."""
    check, limits, images = "camera", {"rate": IMAGE_RATE}, record.images
    if len(images.arrivals) < 2:
        return Verdict(check, False, "no depth images are published", {"rate": 0.0}, limits)
    rate = _rate(images)
    figures = {"rate": round(rate, 2), "encoding": record.encoding, "frames": list(images.frames)}
    if not record.has_info:
        return Verdict(check, False, "depth images come, but no camera info", figures, limits)
    if record.complaint is not None:
        return Verdict(check, False, record.complaint, figures, limits)
    view = record.view
    seen = "an empty table"
    if view is not None:
        seen = f"an object {view.top * 1000:.0f} mm high at ({view.centre[0]:.2f}, {view.centre[1]:.2f}) m"
    text = f"depth images at {rate:.1f} Hz (at least {IMAGE_RATE:.0f}) show {seen}"
    return Verdict(check, rate >= IMAGE_RATE, text, figures, limits)


def check_wrench(record: StreamRecord | None) -> Verdict:
    """Check that the contact force is published often enough to stop a descent; a driver may have none."""
    check, limits = "wrench", {"rate": RATE_SHARE / PROMPT}
    if record is None:
        text = "nobody publishes it; the contact force is then not guarded, and use_wrench:=false must be set"
        return Verdict(check, True, text, {"published": False}, limits)
    rate = _rate(record) if len(record.arrivals) > 1 else 0.0
    figures = {"published": True, "rate": round(rate, 2)}
    if record.complaints:
        return Verdict(check, False, record.complaints[0], figures, limits)
    return Verdict(
        check, rate >= limits["rate"], f"wrench at {rate:.1f} Hz (at least {limits['rate']:.0f})", figures, limits
    )


def check_measurements(profile: RobotProfile, passive: PassiveRecord) -> Verdict:
    """Check that joint states with a fresh wrench, if there is any, come often enough for the watchdog."""
    joints, wrench = passive.joints, passive.wrench
    arrivals, whole = joints.arrivals, np.ones(len(joints.arrivals), dtype=bool)
    if wrench is not None:
        counted = arrivals >= wrench.arrivals[0]
        arrivals, stamps = arrivals[counted], joints.stamps[counted]
        # Each time the message that was the newest when the joint states came, as the policy server joins them.
        newest = np.searchsorted(wrench.arrivals, arrivals, side="right") - 1
        whole = stamps - wrench.stamps[newest] <= PROMPT
    limit = max(passive.watchdog, 2 * profile.control_period)
    times = [*arrivals[:1], *arrivals[whole], *arrivals[-1:]]
    longest = float(np.max(np.diff(times)))
    text = (
        f"joint_states{' with a wrench that is fresh enough' * (wrench is not None)} come at most "
        f"{milliseconds(longest)} apart (below {milliseconds(limit)})"
    )
    return Verdict(WHOLE, longest < limit, text, {"longest": round(longest, 3)}, {"longest": limit})


def check_frames(profile: RobotProfile, passive: PassiveRecord) -> Verdict:
    """Check that the wrench is in the profile's tool frame, and that TF, if there is any, connects this to the base."""
    streams = {} if passive.wrench is None else {"wrench": (passive.wrench, profile.tool_frame)}
    found = [
        f"{name} is in frame '{frame}'; expected '{wanted}'"
        for name, (record, wanted) in streams.items()
        for frame in record.frames
        if frame != wanted
    ]
    if passive.transform is False:
        found.append(
            f"TF does not connect {profile.base_frame} and {profile.tool_frame}; add what is missing by a "
            "static_transform_publisher"
        )
    figures = {name: list(record.frames) for name, (record, _) in streams.items()} | {"transform": passive.transform}
    limits = {name: wanted for name, (_, wanted) in streams.items()}
    tf = "TF connects them" if passive.transform else "there is no TF to ask"
    text = "; ".join(found) or "; ".join([*(f"{name} in {frame}" for name, frame in limits.items()), tf])
    return Verdict("frames", not found, text, figures, limits)


def check_listeners(listeners: Mapping[str, int]) -> Verdict:
    """Check that each command topic has a subscriber."""
    missing = [topic for topic, count in listeners.items() if count == 0]
    nobody = f"nobody subscribes to {' and '.join(missing)}; are the controllers active?"
    text = nobody if missing else "both have subscribers"
    return Verdict("controllers", not missing, text, {"subscribers": dict(listeners)}, {"subscribers": 1})


def _unchecked(check: str, other: Verdict) -> Verdict:
    return Verdict(check, None, f"not checked, because '{other.check}' failed")


def _usual_step(times: Array) -> float:
    """Return the step of a stream without its lost messages, s: the lower quartile of its steps.

    With one message lost in three, half of the steps are double: the median would depend on where the record begins.
    """
    return float(np.quantile(np.diff(times), 0.25))


def _rate(record: JointRecord | StreamRecord) -> float:
    return float((len(record.arrivals) - 1) / max(np.ptp(record.arrivals), 1e-6))


def milliseconds(seconds: float) -> str:
    """Return a time as text in ms."""
    return f"{seconds * 1000:.0f} ms"
