"""A node among messages of a driver that is not ours: any order of joints, numbers that are none."""

import array
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.types import Measurement
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.client import GraphClient, GraphError
from mql_ros.ros.messages.sensors import joint_state_message

MONITOR = ["-m", "mql_ros.ros.nodes.grasp_monitor", "--ros-args", "-r", "__ns:=/inputs", "-p", "use_wrench:=false"]


@pytest.fixture(scope="module")
def client() -> Iterator[GraphClient]:
    """A client beside a monitor in lockstep, which receives only what the test publishes."""
    with subprocess.Popen([sys.executable, *MONITOR, "-p", "lockstep:=true"]) as monitor:
        try:
            with GraphClient(namespace="inputs") as made:
                yield made
        finally:
            monitor.terminate()
            assert monitor.wait(10) == 0


class Driver:
    """Publishes joint states."""

    def __init__(self, client: GraphClient) -> None:
        self.profile = load_profile("panda")
        self._client = client
        self._joints = client.node.create_publisher(JointState, "joint_states", RELIABLE)
        client.wait_for(lambda: self._joints.get_subscription_count() >= 2, 20, "client and monitor")

    def publish(self, stamp: int, **changes: object) -> None:
        measurement = Measurement(
            stamp=0.0, joint_positions=self.profile.home, joint_velocities=np.zeros(7), finger_width=0.08,
            finger_effort=0.0, contact_force=np.zeros(3), contact_torque=np.zeros(3),
        )  # fmt: skip
        message = joint_state_message(self.profile, measurement, stamp, 0.0)
        for field, value in changes.items():
            setattr(message, field, value)
        self._joints.publish(message)

    def shuffled(self, width: float, effort: float) -> dict[str, object]:
        """Names, positions and efforts in another order."""
        names = [*self.profile.joint_names, *self.profile.finger_names]
        order = np.random.default_rng(1).permutation(len(names))
        positions, efforts = [*self.profile.home, width / 2, width / 2], [0.0] * 7 + [effort] * 2
        return {
            "name": [names[k] for k in order],
            "position": array.array("d", [positions[k] for k in order]),
            "velocity": [],
            "effort": array.array("d", [efforts[k] for k in order]),
        }


def test_the_monitor_picks_joints_by_name_and_refuses_what_is_not_finite(client: GraphClient) -> None:
    driver = Driver(client)
    rewards: list[float] = []
    client.node.create_subscription(Float64, "grasp_reward", lambda message: rewards.append(message.data), RELIABLE)
    driver.publish(1)
    client.wait_for(lambda: _begins_at(client, 1), 20, "the first measurement")
    driver.publish(2, position=[float("nan")] * 9)
    driver.publish(3, name=[f"joint{k}" for k in range(9)])
    driver.publish(4, **driver.shuffled(width=0.03, effort=2.0))
    client.wait_for(lambda: rewards, 10, "a reward")
    # One reward: for the measurement with shuffled joints, in which both pads press on something.
    assert rewards == [pytest.approx(0.1 - 0.001)]
    status = client.wait_for(
        lambda: _figures(client).get("refused_messages") == "2" and _figures(client), 10, "figures"
    )
    assert status["measurements"] == "2"
    assert "lacks panda_joint1" in client.diagnostics["grasp_monitor"].message


def _begins_at(client: GraphClient, stamp: int) -> bool:
    try:
        return client.call("grasp_monitor/begin_trial") == f"{stamp} {stamp}"
    except GraphError as error:
        assert "no measurement yet" in str(error)
        return False


def _figures(client: GraphClient) -> dict[str, str]:
    status = client.diagnostics.get("grasp_monitor")
    return {value.key: value.value for value in status.values} if status else {}
