"""Verdicts on made-up samples: a sound driver passes every check, and each wrong one fails the check that names it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mql_ros.core.errors import UserError
from mql_ros.grasping.driver_check import motion_checks as motions
from mql_ros.grasping.driver_check.checks import (
    CameraRecord,
    JointRecord,
    PassiveRecord,
    StreamRecord,
    Verdict,
    passive_verdicts,
)
from mql_ros.grasping.driver_check.report import content_hash, default_path, load_report, make_report
from mql_ros.grasping.motion.joint_motion import MARGIN
from mql_ros.grasping.perception.height_map import HeightMap
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import LAG, SafetyFilter

PERIOD, COUNT, DELAY = 0.05, 60, 0.004


def at_home(profile: RobotProfile) -> JointRecord:
    stamps = 100.0 + PERIOD * np.arange(COUNT)
    positions = np.tile(profile.home, (COUNT, 1))
    return JointRecord(stamps + DELAY, stamps, positions, np.zeros_like(positions), np.full(COUNT, 0.08))


def sound(profile: RobotProfile) -> PassiveRecord:
    joints = at_home(profile)
    return PassiveRecord(
        names=(*profile.joint_names, *profile.finger_names),
        complaints=(),
        joints=joints,
        camera=CameraRecord(StreamRecord(joints.arrivals, joints.stamps, ("camera",)), True, "16UC1"),
        wrench=StreamRecord(joints.arrivals, joints.stamps, (profile.tool_frame,)),
        listeners={"arm": 1, "gripper": 1},
        watchdog=0.1,
    )


def joints_changed(record: PassiveRecord, **changes: Any) -> PassiveRecord:
    return dataclasses.replace(record, joints=dataclasses.replace(record.joints, **changes))


def kept(record: JointRecord, chosen: np.ndarray) -> dict[str, np.ndarray]:
    names = ("arrivals", "stamps", "positions", "velocities", "widths")
    return {name: getattr(record, name)[chosen] for name in names}


def seldom(record: StreamRecord, chosen: np.ndarray, late: float = 0.0) -> StreamRecord:
    return dataclasses.replace(record, arrivals=record.arrivals[chosen] + late, stamps=record.stamps[chosen])


def camera_changed(heard: PassiveRecord, **changes: Any) -> PassiveRecord:
    return dataclasses.replace(heard, camera=dataclasses.replace(heard.camera, **changes))


def with_images(heard: PassiveRecord, every: int, late: float = 0.0) -> PassiveRecord:
    """One depth image for so many joint states, which arrives late."""
    return camera_changed(heard, images=seldom(heard.camera.images, np.arange(0, COUNT, every), late))


def failed(verdicts: list[Verdict]) -> list[str]:
    return [verdict.check for verdict in verdicts if verdict.passed is False]


def test_a_sound_driver_passes_every_check(panda: RobotProfile) -> None:
    verdicts = passive_verdicts(panda, sound(panda))
    assert all(verdict.passed for verdict in verdicts) and len(verdicts) == 12
    json.dumps([dataclasses.asdict(verdict) for verdict in verdicts], allow_nan=False)


def test_a_driver_without_wrench_and_in_another_order_passes(panda: RobotProfile) -> None:
    record = sound(panda)
    other = dataclasses.replace(record, wrench=None, names=("gripper_led", *reversed(record.names)))
    verdicts = {verdict.check: verdict for verdict in passive_verdicts(panda, other)}
    assert all(verdict.passed for verdict in verdicts.values())
    assert "no fault" in verdicts["joint names"].text
    assert verdicts["wrench"].figures["published"] is False


Change = Callable[[PassiveRecord], PassiveRecord]
FAULTS: dict[str, tuple[str, str, Change]] = {
    "missing joint": ("joint names", "lacks panda_joint3", lambda h: dataclasses.replace(
        h, names=tuple(name for name in h.names if name != "panda_joint3"))),
    "joint twice": ("joint names", "more than once", lambda h: dataclasses.replace(h, names=(*h.names, h.names[0]))),
    "not finite": ("joint names", "is not finite", lambda h: dataclasses.replace(
        h, complaints=("joint_states position holds a number that is not finite",))),
    "degrees": ("units and ranges", "degrees", lambda h: joints_changed(h, positions=np.degrees(h.joints.positions))),
    "millimetres": ("units and ranges", "millimetres", lambda h: joints_changed(h, widths=1000 * h.joints.widths)),
    "shuffled": ("joint order", "do not belong together", lambda h: joints_changed(
        h, positions=np.roll(h.joints.positions, 1, axis=1))),
    "away from home": ("joint order", "bring the arm", lambda h: joints_changed(h, positions=h.joints.positions - 0.5)),
    "moving": ("stands still", "stop whatever moves it", lambda h: joints_changed(
        h, positions=h.joints.positions + 0.02 * h.joints.stamps[:, None] - 2.0)),
    "wrong speed": ("stands still", "its position stays", lambda h: joints_changed(
        h, velocities=h.joints.velocities + 0.2)),
    "10 Hz": ("rate", "10.0 Hz", lambda h: joints_changed(h, **kept(h.joints, np.arange(0, COUNT, 2)))),
    "too few": ("rate", "came 2 times only", lambda h: joints_changed(h, **kept(h.joints, np.arange(2)))),
    "dropped": ("gaps and jitter", "periods without", lambda h: joints_changed(
        h, **kept(h.joints, np.flatnonzero(np.arange(COUNT) % 5 != 2)))),
    "jitter": ("gaps and jitter", "jitter", lambda h: joints_changed(
        h, arrivals=h.joints.arrivals + 0.07 * (np.arange(COUNT) % 4 == 1))),
    "a silence": ("gaps and jitter", "longest gap 150 ms (below the 100 ms", lambda h: joints_changed(
        h, **kept(h.joints, np.setdiff1d(np.arange(COUNT), [30, 31])))),
    "late": ("time stamps", "304 ms after its stamp", lambda h: joints_changed(h, stamps=h.joints.stamps - 0.3)),
    "early": ("time stamps", "in the future", lambda h: joints_changed(h, stamps=h.joints.stamps + 0.3)),
    "no stamps": ("time stamps", "no time stamps", lambda h: camera_changed(
        h, images=dataclasses.replace(h.camera.images, stamps=0 * h.camera.images.stamps))),
    "stamps fall": ("time stamps", "do not rise", lambda h: camera_changed(
        h, images=dataclasses.replace(h.camera.images, stamps=h.camera.images.stamps[::-1]))),
    "no camera": ("camera", "no depth images are published", lambda h: camera_changed(
        h, images=StreamRecord(np.empty(0), np.empty(0)))),
    "no camera info": ("camera", "no camera info", lambda h: camera_changed(h, has_info=False)),
    "unusable images": ("camera", "encoded as 'rgb8'", lambda h: camera_changed(h, complaint="encoded as 'rgb8'")),
    "slow camera": ("camera", "at 1.0 Hz (at least 2)", lambda h: with_images(h, 20)),
    "late camera": ("time stamps", "depth images arrives 604 ms", lambda h: with_images(h, 5, 0.6)),
    "slow wrench": ("wrench", "wrench at 2.0 Hz", lambda h: dataclasses.replace(
        h, wrench=dataclasses.replace(h.wrench, arrivals=h.wrench.arrivals[::10], stamps=h.wrench.stamps[::10]))),
    "old wrench": ("measurements", "come at most 150 ms apart (below 100 ms)", lambda h: dataclasses.replace(
        h, wrench=seldom(h.wrench, np.setdiff1d(np.arange(COUNT), [30, 31, 32, 33])))),
    "wrist frame": ("frames", "'wrist'; expected 'panda_grasptarget'", lambda h: dataclasses.replace(
        h, wrench=dataclasses.replace(h.wrench, frames=("wrist",)))),
    "no transform": ("frames", "TF does not connect", lambda h: dataclasses.replace(h, transform=False)),
    "no controller": ("controllers", "nobody subscribes to arm", lambda h: dataclasses.replace(
        h, listeners={"arm": 0, "gripper": 1})),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_driver_fault_fails_its_own_check_alone(fault: str, panda: RobotProfile) -> None:
    check, words, change = FAULTS[fault]
    verdicts = passive_verdicts(panda, change(sound(panda)))
    assert failed(verdicts) == [check]
    assert words in next(verdict.text for verdict in verdicts if verdict.check == check)


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("count", [COUNT, COUNT - 1, COUNT - 2])
def test_one_message_lost_in_three_is_named_wherever_the_record_begins(
    first: int, count: int, panda: RobotProfile
) -> None:
    record = sound(panda)
    lossy = joints_changed(record, **kept(record.joints, np.flatnonzero(np.arange(count) % 3 != first)))
    assert failed(passive_verdicts(panda, lossy)) == ["gaps and jitter"]


def nudged(profile: RobotProfile, joint: int, lag: float = 0.04, follows: int | None = None) -> motions.NudgeRecord:
    """A joint out and back on an arm that follows with a lag, or another joint that moves in its place."""
    out = motions.plan_nudge(profile, profile.home, joint, motions.NUDGE, 0.8)
    motion = out.then(motions.plan_nudge(profile, out.points[-1], joint, -motions.NUDGE, 0.8))
    planned = np.append(0.0, motion.points[:, joint] - profile.home[joint])
    stamps = 10.0 + 0.02 * np.arange(120)
    way = np.interp(stamps - 10.0 - lag, PERIOD * np.arange(len(planned)), planned)
    positions = np.tile(profile.home, (len(stamps), 1))
    positions[:, joint if follows is None else follows] += way
    velocities = np.gradient(positions, stamps, axis=0)
    record = JointRecord(stamps, stamps, positions, velocities, np.full(len(stamps), 0.08))
    return motions.NudgeRecord(joint, motions.NUDGE, planned, 10.0, record)


def test_nudges_of_a_sound_arm_pass(panda: RobotProfile) -> None:
    nudges = [nudged(panda, joint) for joint in range(7)]
    assert motions.check_nudges(panda, nudges).passed
    assert motions.check_motion_velocities(panda, nudges).passed
    latency = motions.check_latency(panda, nudges)
    assert latency.passed and latency.figures["median"] == pytest.approx(0.04, abs=0.005)
    assert not motions.check_latency(panda, [nudged(panda, 2, lag=0.4)]).passed


@pytest.mark.parametrize("lag", [0.0, 0.04, 0.2])
def test_the_safety_filter_lets_an_arm_lag_at_the_limit_scale_of_its_latency(lag: float, panda: RobotProfile) -> None:
    scale = motions.check_latency(panda, [nudged(panda, joint, lag) for joint in range(7)]).figures["limit_scale"]
    fastest = MARGIN * scale * panda.velocity
    ahead = (panda.control_period + lag) * fastest
    assert (ahead <= 1.03 * LAG * panda.control_period * panda.velocity).all()  # the lag is measured to a few per cent
    assert scale == 1.0 or (1.1 * ahead > LAG * panda.control_period * panda.velocity).all()


def test_the_driver_check_passes_an_ordinary_camera_and_tells_what_it_shows(panda: RobotProfile) -> None:
    view = HeightMap(np.full((32, 32), 0.07, np.float32), np.array([0.5, 0.02]), 0.0, 0)
    heard = camera_changed(with_images(sound(panda), 5, 0.3), view=view)
    verdicts = {verdict.check: verdict for verdict in passive_verdicts(panda, heard)}
    assert failed(list(verdicts.values())) == []
    assert verdicts["camera"].text.endswith("show an object 70 mm high at (0.50, 0.02) m")


@pytest.mark.parametrize("joint", range(7))
def test_the_safety_filter_allows_the_nudge_from_home(joint: int, panda: RobotProfile) -> None:
    out = motions.plan_nudge(panda, panda.home, joint, motions.NUDGE, 0.8)
    back = motions.plan_nudge(panda, out.points[-1], joint, -motions.NUDGE, 0.8)
    assert SafetyFilter(panda).plan_fault(out.then(back)) == ""
    assert back.points[-1] == pytest.approx(panda.home)


def test_a_nudge_keeps_to_half_of_tight_limits(panda: RobotProfile) -> None:
    motion = motions.plan_nudge(panda.slowed(0.02, 1.0), panda.home, 3, 0.05, 0.8)
    speed = np.abs(motion.velocities[:, 3]).max()
    assert len(motion.points) > 16 and speed < 0.5 * 0.02 * panda.velocity[3]


def test_the_driver_check_names_a_joint_that_moves_wrongly_or_not_at_all(panda: RobotProfile) -> None:
    verdict = motions.check_nudges(panda, [nudged(panda, 0, follows=2)])
    assert not verdict.passed
    assert "panda_joint1 was asked to move by 0.050 rad and moved by 0.000" in verdict.text
    assert "panda_joint3 moved by 0.050 rad when panda_joint1 was asked to" in verdict.text


@pytest.mark.parametrize("factor", [0.0, -1.0, 180 / np.pi])
def test_the_driver_check_fails_on_velocities_in_another_unit_or_direction(factor: float, panda: RobotProfile) -> None:
    nudge = nudged(panda, 4)
    wrong = dataclasses.replace(nudge.joints, velocities=factor * nudge.joints.velocities)
    assert not motions.check_motion_velocities(panda, [dataclasses.replace(nudge, joints=wrong)]).passed
    none = dataclasses.replace(wrong, has_velocities=False)
    assert motions.check_motion_velocities(panda, [dataclasses.replace(nudge, joints=none)]).passed


def test_the_driver_check_fails_on_drift_and_on_a_long_stop(panda: RobotProfile) -> None:
    record = at_home(panda)
    assert motions.check_silence(panda, record).passed
    drifting = record.positions + 0.02 * np.linspace(0, 1, COUNT)[:, None] * np.eye(7)[5]
    verdict = motions.check_silence(panda, dataclasses.replace(record, positions=drifting))
    assert not verdict.passed and "panda_joint6 went on by 0.020 rad" in verdict.text
    assert motions.check_stop(5, 0.1, dataclasses.replace(record, positions=drifting)).passed
    assert not motions.check_stop(5, 0.01, dataclasses.replace(record, positions=drifting)).passed


def test_the_driver_check_fails_on_a_gripper_that_does_not_move(panda: RobotProfile) -> None:
    assert motions.check_gripper(panda, [0.024, 0.08], [0.026, 0.077]).passed
    assert not motions.check_gripper(panda, [0.024, 0.08], [0.08, 0.08]).passed


# The report.


def report_of(
    profile: RobotProfile, complete: bool = True, passed: bool = True, simulator: bool = False
) -> dict[str, Any]:
    driver = {"joint_states": ["driver"]}
    return make_report(profile, "/left/", driver, [Verdict("rate", passed, "20 Hz")], complete, simulator)


def write(path: Path, report: dict[str, Any], sign: bool = False, **changes: Any) -> Path:
    report = {**report, **changes}
    path.write_text(json.dumps({**report, "sha256": content_hash(report)} if sign else report))
    return path


def test_a_good_check_report_is_accepted(panda: RobotProfile, tmp_path: Path) -> None:
    report = report_of(panda)
    assert load_report(write(tmp_path / "report.json", report), panda, "left") == report


OLD = (datetime.now(timezone.utc) - timedelta(days=31)).isoformat()
FUTURE = (datetime.now(timezone.utc) + timedelta(days=400)).isoformat()


@pytest.mark.parametrize(
    ("made", "changes", "sign", "words"),
    [
        ({}, {"passed": True, "robot": "panda "}, False, "was changed after it was written"),
        ({}, {"schema": 1}, True, "was changed after it was written"),
        ({}, {"robot": "iiwa"}, True, "is about the robot 'iiwa', not 'panda'"),
        ({}, {"profile_sha256": "0" * 64}, True, "profile of 'panda' was changed"),
        ({"passed": False}, {}, False, "the driver failed: rate"),
        ({"complete": False}, {}, False, "without moving the arm"),
        ({}, {"time": OLD}, True, "is 31 days old; at most 30 count"),
        ({}, {"time": FUTURE}, True, "is dated in the future"),
        ({"simulator": True}, {}, False, "was made with the simulator"),
        ({}, {"namespace": "right"}, True, "is about an arm in namespace 'right', and this one is in namespace 'left'"),
        ({}, {"namespace": ""}, True, "is about an arm in no namespace"),
    ],
    ids=[
        "changed",
        "schema",
        "robot",
        "profile",
        "failed",
        "passive",
        "old",
        "future",
        "simulator",
        "namespace",
        "no namespace",
    ],
)
def test_a_check_report_about_anything_else_is_refused_in_one_sentence(
    made: dict[str, Any], changes: dict[str, Any], sign: bool, words: str, panda: RobotProfile, tmp_path: Path
) -> None:
    path = write(tmp_path / "report.json", report_of(panda, **made), sign, **changes)
    with pytest.raises(UserError) as refusal:
        load_report(path, panda, "/left", robot="my.yaml")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert "mql check-robot --robot my.yaml --namespace left`" in str(refusal.value)


@pytest.mark.parametrize("text", [None, "no JSON", "[]", "{}"])
def test_a_file_that_is_no_check_report_is_refused(text: str | None, panda: RobotProfile, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="check report"):
        load_report(path, panda)


def test_check_reports_lie_below_ros_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    assert default_path("panda") == tmp_path / "mql_ros" / "check_panda.json"
    places = [
        default_path(*which) for which in (("panda",), ("panda", "/a/b"), ("panda", "a/b", True), ("panda", "", True))
    ]
    assert [place.name for place in places[1:]] == [
        "check_panda.a.b.json",
        "check_panda.a.b.simulator.json",
        "check_panda.simulator.json",
    ]
