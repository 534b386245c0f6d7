"""The report of `mql check-robot`: a JSON file with a hash, valid for one content of a robot profile."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from mql_ros.core.errors import UserError
from mql_ros.grasping.driver_check.checks import Verdict
from mql_ros.grasping.robot.profile import RobotProfile

SCHEMA = 2
MAX_AGE_DAYS = 30.0
CLOCKS_APART = timedelta(minutes=5)
"""How far in the future a report may be dated: the clocks of two machines differ."""

UNFINISHED = Verdict("motions to their end", False, "the check was broken off after the arm had begun to move")
"""The verdict in the report from the first motion until the last."""


def default_path(robot: str, namespace: str = "", simulator: bool = False) -> Path:
    """Return the file of a robot's report, below $ROS_HOME or, if that is not set, below ~/.ros.

    Each namespace has a file of its own. The simulator has one too, so it never takes the place of hardware.
    """
    home = os.environ.get("ROS_HOME") or Path.home() / ".ros"
    parts = ["check_" + robot, *namespace.strip("/").split("/"), *(["simulator"] if simulator else [])]
    return Path(home) / "mql_ros" / (".".join(filter(None, parts)) + ".json")


def make_report(
    profile: RobotProfile,
    namespace: str,
    driver: Mapping[str, Sequence[str]],
    verdicts: Sequence[Verdict],
    complete: bool,
    simulator: bool,
) -> dict[str, Any]:
    """Return the report.

    `driver` has the names of nodes by topic; `complete` means that the arm was moved too; `simulator` means that the
    driver is the simulator, whose check proves nothing about hardware.
    """
    content = {
        "schema": SCHEMA,
        "robot": profile.name,
        "profile_sha256": profile.sha256,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "namespace": namespace.strip("/"),
        "simulator": simulator,
        "driver": {topic: list(nodes) for topic, nodes in driver.items()},
        "complete": complete,
        "passed": all(verdict.passed for verdict in verdicts),
        "checks": [asdict(verdict) for verdict in verdicts],
    }
    return {**content, "sha256": content_hash(content)}


def content_hash(report: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the report's canonical JSON, without the hash itself."""
    content = {key: value for key, value in report.items() if key != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def load_report(
    path: str | Path,
    profile: RobotProfile,
    namespace: str = "",
    max_age_days: float = MAX_AGE_DAYS,
    robot: str = "",
) -> dict[str, Any]:
    """Return a complete, passing report about hardware: this robot, in this namespace, with this profile's content.

    `robot` is what the profile was loaded by, a name or a file, for the advice in a refusal.

    Raises:
        UserError: there is none, or it was changed, is about the simulator or another robot, namespace or profile,
            failed, or is too old.
    """
    namespace = namespace.strip("/")
    again = f"run `mql check-robot --robot {robot or profile.name}{f' --namespace {namespace}' if namespace else ''}`"
    report = _read(path, again)
    where, here = (f"namespace '{name}'" if name else "no namespace" for name in (report["namespace"], namespace))
    failed = ", ".join(check["check"] for check in report["checks"] if not check["passed"])
    age = datetime.now(timezone.utc) - datetime.fromisoformat(report["time"])
    refusals = (
        (report["robot"] != profile.name, f"is about the robot '{report['robot']}', not '{profile.name}'; {again}"),
        (
            report["simulator"],
            f"was made with the simulator, which proves nothing about a real arm; {again} with the arm's driver",
        ),
        (report["namespace"] != namespace, f"is about an arm in {where}, and this one is in {here}; {again}"),
        (
            report["profile_sha256"] != profile.sha256,
            f"was made before the profile of '{profile.name}' was changed; {again}",
        ),
        (not report["passed"], f"shows that the driver failed: {failed}; correct it and {again}"),
        (not report["complete"], f"was made without moving the arm; {again} without --passive"),
        (age < -CLOCKS_APART, f"is dated in the future ({report['time']}); set the clock and {again}"),
        (age > timedelta(days=max_age_days), f"is {age.days} days old; at most {max_age_days:.0f} count; {again}"),
    )
    for refused, reason in refusals:
        if refused:
            raise UserError(f"the check report {path} {reason}")
    return report


def _read(path: str | Path, again: str) -> dict[str, Any]:
    """Return the report in a file; UserError, with the advice `again`, if there is none or its hash does not fit."""
    try:
        report = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"there is no check report {path}; {again}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"the check report {path} cannot be read ({error}); {again}") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA or report.get("sha256") != content_hash(report):
        raise UserError(f"the check report {path} was changed after it was written: its hash does not fit; {again}")
    return report
