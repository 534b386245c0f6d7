"""Bare rclpy processes for benchmarks: `relay IN OUT ...` passes messages on, `joint_states HZ` is a fast driver."""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)


def relay(topics: list[str]) -> None:
    """Publish on every second topic what arrives on the one before it, until a signal."""
    node = Node(f"relay_{topics[0]}")
    for source, target in zip(topics[::2], topics[1::2], strict=True):
        publisher = node.create_publisher(Float64MultiArray, target, RELIABLE)
        node.create_subscription(Float64MultiArray, source, publisher.publish, RELIABLE)
    rclpy.spin(node)


def joint_states(rate: float) -> None:
    """Publish the joint states of a Panda at rest `rate` times a second, by absolute deadlines, until a signal."""
    from mql_ros.grasping.robot.profile import load_profile

    node, profile = Node("fast_driver"), load_profile("panda")
    publisher = node.create_publisher(JointState, profile.topics.joint_states, RELIABLE)
    message = JointState(name=[*profile.joint_names, *profile.finger_names])
    message.position = [*profile.home.tolist(), 0.04, 0.04]
    message.velocity = message.effort = [0.0] * len(message.name)
    due = time.monotonic()
    while rclpy.ok():
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        due += 1.0 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    """Run the benchmark that the command line describes."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # a signal ends it at once: there is nothing to lose
    if sys.argv[1] == "relay":
        relay(sys.argv[2:])
    else:
        joint_states(float(sys.argv[2]))


if __name__ == "__main__":
    main()
