"""What recorded samples tell about an arm's driver: pure functions from samples to a verdict (knows no ROS).

Here is what needs no motion; `robot_check_motion` judges motions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array

NEAR_HOME = 0.3
"""How far from its home each joint may stand, rad: names that are interchanged then show, or do no harm."""
STILL = 0.01
"""Way of a joint that stands still, rad."""
STILL_SPEED = 0.05
"""Largest speed that is reported of it, rad/s."""
RATE_SHARE = 0.8
"""Least rate of joint_states, as a share of one for each control period."""
LEAST = 5
"""Fewest joint states that tell anything."""
MISSING_SHARE = 0.05
"""Largest share of control periods that may pass without joint_states."""
PROMPT = 0.1
"""Joint states and wrench that are older are not acted on (as in the policy server), s."""
POSE_AGE = 0.5
"""The same for the object's pose, `stale_after` of the policy server: perception is slower, s."""
EARLY = 0.02
"""How far in the future a stamp may lie: the clocks of two machines, s."""
POSE_RATE = 4.0
"""Least rate of the object's pose, Hz: two within POSE_AGE."""
GAPS, WHOLE = "gaps and jitter", "measurements"
WIDTH_SHARE = 0.1
"""Part of the widest opening by which the reported one may miss what was asked for."""


@dataclass(frozen=True)
class Verdict:
    """One check: what it found, beside what it asks for."""

    check: str
    passed: bool | None
    """None: it could not be made."""
    text: str
    """What was found, with figures; where it did not pass, what is wrong."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """For the terminal."""
        word = {True: "pass", False: "FAIL", None: "----"}[self.passed]
        return f"{word}  {self.check:<18} {self.text}"


@dataclass(frozen=True)
class JointRecord:
    """What joint_states said during some time."""

    arrivals: Array
    """When each message came [m], s, on the clock that the stamps are compared with."""
    stamps: Array
    """[m], s."""
    positions: Array
    """Arm joints in profile order [m, n], rad."""
    velocities: Array
    """[m, n], rad/s."""
    widths: Array
    """Opening of the fingers [m], m."""
    has_velocities: bool = True
    """False where the driver reports none, which it need not."""


@dataclass(frozen=True)
class StreamRecord:
    """What `object_pose` or `wrench` said during some time."""

    arrivals: Array
    stamps: Array
    frames: tuple[str, ...] = ()
    """Each frame_id that was seen."""
    complaints: tuple[str, ...] = ()
    """Why messages could not be used, other than their frame."""


@dataclass(frozen=True)
class PassiveRecord:
    """All that was heard while nothing was asked of the driver."""

    names: tuple[str, ...]
    """As joint_states has them."""
    complaints: tuple[str, ...]
    """Why joint_states could not be used."""
    joints: JointRecord
    pose: StreamRecord
    wrench: StreamRecord | None
    """None where nobody publishes it."""
    listeners: Mapping[str, int]
    """Subscribers by command topic."""
    watchdog: float
    """After so long a silence the policy server stops the arm, s."""
    transform: bool | None = None
    """Whether TF connects base and tool frame; None where there is no TF to ask."""


def passive_verdicts(profile: RobotProfile, heard: PassiveRecord) -> list[Verdict]:
    """Every check that needs no motion, in the order of the report."""
    names = check_names(profile, heard.names, heard.complaints)
    if not names.passed:
        return [names]
    if (count := len(heard.joints.stamps)) < LEAST:
        return [names, Verdict("rate", False, f"joint_states came {count} times only; too few to judge")]
    units = check_units(profile, heard.joints)
    order = check_order(profile, heard.joints) if units.passed else _unchecked("joint order", units)
    still = check_stillness(profile, heard.joints) if units.passed else _unchecked("stands still", units)
    rate = check_rate(profile, heard.joints)
    gaps = check_regularity(profile, heard.joints, heard.watchdog) if rate.passed else _unchecked(GAPS, rate)
    parts = [rate, gaps, check_stamps(heard), check_pose(heard.pose), check_wrench(heard.wrench)]
    wrong = next((part for part in parts if not part.passed), None)
    whole = _unchecked(WHOLE, wrong) if wrong else check_measurements(profile, heard)
    return [
        names, units, order, still, *parts, whole, check_frames(profile, heard), check_listeners(heard.listeners)
    ]  # fmt: skip


def check_names(profile: RobotProfile, names: Sequence[str], complaints: Sequence[str]) -> Verdict:
    """Every joint of arm and gripper once, with numbers beside it."""
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
    """Radians, radians per second and metres: magnitudes that this arm can have."""
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
    """Each position belongs to the name beside it: the arm stands near its home, every joint within its limits."""
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
            f"names and positions do not belong together: {profile.joint_names[worst]} is said to stand at "
            f"{place[worst]:.2f} rad, where {other} should; in another order all would be near home"
        )
        return Verdict(check, False, text, figures, limits)
    text = (
        f"{profile.joint_names[worst]} stands at {place[worst]:.2f} rad, {away[worst]:.2f} from its home; bring the "
        f"arm to its home ({', '.join(f'{angle:.2f}' for angle in home)} rad), where the check begins"
    )
    return Verdict(check, False, text, figures, limits)


def check_stillness(profile: RobotProfile, record: JointRecord) -> Verdict:
    """Nothing moves the arm, and its velocities say so."""
    ways, speeds = np.ptp(record.positions, axis=0), np.abs(record.velocities).max(axis=0)
    figures = {"way": round(float(ways.max()), 4), "speed": round(float(speeds.max()), 4)}
    limits = {"way": STILL, "speed": STILL_SPEED}
    if ways.max() > STILL:
        joint = profile.joint_names[int(np.argmax(ways))]
        text = f"{joint} moved by {ways.max():.3f} rad; the arm must stand still, so stop whatever moves it"
    elif speeds.max() > STILL_SPEED:
        joint = profile.joint_names[int(np.argmax(speeds))]
        text = f"{joint} is said to move at {speeds.max():.3f} rad/s, but its position stays"
    else:
        return Verdict(
            "stands still", True, "moved by {way} rad at up to {speed} rad/s".format(**figures), figures, limits
        )
    return Verdict("stands still", False, text, figures, limits)


def check_rate(profile: RobotProfile, record: JointRecord) -> Verdict:
    """Joint states come, but for lost ones, in each control period."""
    # Messages may arrive in bursts, and stamps may be missing.
    usual = 1.0 / max(_usual_step(record.stamps), _usual_step(record.arrivals), 1e-6)
    least = RATE_SHARE / profile.control_period
    figures = {"rate": round(_rate(record), 2), "usual": round(usual, 2)}
    text = f"joint_states at {usual:.1f} Hz (at least {least:.1f})"
    return Verdict("rate", usual >= least, text, figures, {"usual": round(least, 2)})


def check_regularity(profile: RobotProfile, record: JointRecord, watchdog: float) -> Verdict:
    """Few control periods without a message, by the stamps, a jitter of arrival below one of them, no long silence."""
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


def check_stamps(heard: PassiveRecord) -> Verdict:
    """Stamps that rise, and lie no farther from the arrival than what is acted on may be old."""
    streams: dict[str, tuple[JointRecord | StreamRecord, float]]
    streams = {"joint_states": (heard.joints, PROMPT), "object_pose": (heard.pose, POSE_AGE)}
    if heard.wrench is not None:
        streams["wrench"] = (heard.wrench, PROMPT)
    figures, limits, found = {}, {}, []
    for name, (record, oldest) in streams.items():
        if len(record.stamps) == 0:
            continue  # a check of its own says so
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


def check_pose(record: StreamRecord) -> Verdict:
    """The object's pose is there, often enough, and is one."""
    check, limits = "object pose", {"rate": POSE_RATE}
    if len(record.arrivals) < 2:
        return Verdict(check, False, "object_pose is not published", {"rate": 0.0}, limits)
    rate = _rate(record)
    if record.complaints:
        return Verdict(check, False, record.complaints[0], {"rate": round(rate, 2)}, limits)
    text = f"object_pose at {rate:.1f} Hz (at least {POSE_RATE:.0f})"
    return Verdict(check, rate >= POSE_RATE, text, {"rate": round(rate, 2)}, limits)


def check_wrench(record: StreamRecord | None) -> Verdict:
    """The contact force is there as often as it must be to stop a descent; a driver may have none at all."""
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


def check_measurements(profile: RobotProfile, heard: PassiveRecord) -> Verdict:
    """Joint states beside which pose and wrench are fresh enough come so often that the watchdog never bites.

    Pose and wrench must have come.
    """
    joints, streams = heard.joints, [(heard.pose, POSE_AGE)]
    if heard.wrench is not None:
        streams.append((heard.wrench, PROMPT))
    counted = joints.arrivals >= max(record.arrivals[0] for record, _ in streams)
    arrivals, stamps = joints.arrivals[counted], joints.stamps[counted]
    # Each time the message that was the newest when the joint states came, as the policy server joins them.
    ages = [stamps - r.stamps[np.searchsorted(r.arrivals, arrivals, side="right") - 1] for r, _ in streams]
    whole = np.all([age <= oldest for age, (_, oldest) in zip(ages, streams, strict=True)], axis=0)
    limit = max(heard.watchdog, 2 * profile.control_period)
    times = [*arrivals[:1], *arrivals[whole], *arrivals[-1:]]
    longest, pose = float(np.max(np.diff(times))), float(ages[0].max())
    figures = {"longest": round(longest, 3), "pose_age": round(pose, 3)}
    text = (
        f"joint_states with a pose{' and a wrench' * (len(streams) > 1)} that are fresh enough come at most "
        f"{milliseconds(longest)} apart (below {milliseconds(limit)}); the pose beside them is up to "
        f"{milliseconds(pose)} old (below {milliseconds(POSE_AGE)})"
    )
    return Verdict(WHOLE, longest < limit and pose < POSE_AGE, text, figures, {"longest": limit, "pose_age": POSE_AGE})


def check_frames(profile: RobotProfile, heard: PassiveRecord) -> Verdict:
    """Pose and wrench in the frames of the profile; TF, where there is any, connects these."""
    streams = {"object_pose": (heard.pose, profile.base_frame)}
    if heard.wrench is not None:
        streams["wrench"] = (heard.wrench, profile.tool_frame)
    found = [
        f"{name} is in frame '{frame}'; expected '{wanted}'"
        for name, (record, wanted) in streams.items()
        for frame in record.frames
        if frame != wanted
    ]
    if heard.transform is False:
        found.append(
            f"TF does not connect {profile.base_frame} and {profile.tool_frame}; add what is missing by a "
            "static_transform_publisher"
        )
    figures = {name: list(record.frames) for name, (record, _) in streams.items()} | {"transform": heard.transform}
    limits = {name: wanted for name, (_, wanted) in streams.items()}
    tf = "TF connects them" if heard.transform else "there is no TF to ask"
    text = "; ".join(found) or f"{', '.join(f'{name} in {frame}' for name, frame in limits.items())}; {tf}"
    return Verdict("frames", not found, text, figures, limits)


def check_listeners(listeners: Mapping[str, int]) -> Verdict:
    """Somebody hears the commands."""
    deaf = [topic for topic, count in listeners.items() if count == 0]
    text = f"nobody subscribes to {' and '.join(deaf)}; are the controllers active?" if deaf else "both are heard"
    return Verdict("controllers", not deaf, text, {"subscribers": dict(listeners)}, {"subscribers": 1})


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
    """A time for the terminal."""
    return f"{seconds * 1000:.0f} ms"
