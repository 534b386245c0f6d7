"""What all nodes share: declared parameters, diagnostics, start and clean exit."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger

from mql_ros.core.errors import EXIT_USER_ERROR, UserError
from mql_ros.ros.base.child_process import end_with_parent
from mql_ros.ros.base.managed_node import ManagedNode
from mql_ros.ros.base.parameters import ParameterSpec, parameter_table, unknown_parameter

SIGNAL_SECONDS = 0.05
"""Longest time until a node reacts to a signal, s."""


class GraspingNode(ManagedNode):
    """A lifecycle node with the parameters that config/nodes.yaml gives it, and a status on /diagnostics every second.

    With the parameter `autostart` it becomes active by itself.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._specs = parameter_table()[name]
        try:
            self._settings = self._declare_parameters()
        except UserError:
            self.destroy_node()  # nobody else has it yet
            raise
        self.add_on_set_parameters_callback(self._accept_values)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.wall_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._report, clock=self.wall_clock)

    def _declare_parameters(self) -> dict[str, Any]:
        """Declare all parameters and return their values; UserError for a wrong name, type or range.

        They are checked here, because rclpy would fail with a traceback and ignore a wrong name.
        """
        given = dict(getattr(self, "_parameter_overrides", {}))
        if (complaint := unknown_parameter(given)) is not None:
            raise UserError(complaint)
        for spec in self._specs.values():
            value = spec.coerced(given[spec.name].value) if spec.name in given else spec.default
            if (complaint := spec.complaint(value)) is not None:
                raise UserError(complaint)
            self.declare_parameter(spec.name, value, _descriptor(spec), ignore_override=True)
        return {name: self.get_parameter(name).value for name in self._specs}

    def setting(self, name: str) -> Any:
        """Return the present value of a parameter."""
        return self._settings[name]

    def change(self, name: str, value: Any) -> str | None:
        """Act on a new value of a parameter; return a reason to refuse it, or None. Nodes override this."""
        return None

    def figures(self) -> dict[str, Any]:
        """Return the node's figures for /diagnostics while configured. Nodes override this."""
        return {}

    def seconds(self) -> float:
        """Return the time of a steady clock, s; wall time even if time is simulated."""
        return self.wall_clock.now().nanoseconds * 1e-9

    def _accept_values(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            if spec is None:
                continue
            reason = spec.complaint(parameter.value)
            if reason is None and self.configured:
                reason = self.change(parameter.name, parameter.value)
            if reason is not None:
                return SetParametersResult(successful=False, reason=reason)
            self._settings[parameter.name] = parameter.value
        return SetParametersResult(successful=True)

    def _report(self) -> None:
        self.forget_old_warnings()
        figures = self.figures() if self.configured else {}
        level = DiagnosticStatus.ERROR if self.problem else DiagnosticStatus.WARN if self.warning else None
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK if level is None else level,
            name=self.get_fully_qualified_name().lstrip("/"),
            message=self.problem or self.warning or ("running" if self.active else "not active"),
            hardware_id=str(self._settings.get("robot", "")),
            values=[KeyValue(key=key, value=str(value)) for key, value in figures.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=spec.description, read_only=spec.fixed)
    if spec.choices:
        descriptor.additional_constraints = "one of: " + ", ".join(spec.choices)
    if spec.range is not None and isinstance(spec.default, int):
        low, high = (int(limit) for limit in spec.range)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    elif spec.range is not None:
        low_limit, high_limit = (float(limit) for limit in spec.range)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low_limit, to_value=high_limit)]
    return descriptor


def answer(response: Any, problem: str | None, message: str = "") -> Trigger.Response | SetBool.Response:
    """Fill in and return the response of a Trigger or SetBool; `problem` is the reason of a refusal, or None."""
    response.success = problem is None
    response.message = problem or message
    return response


def run_node(name: str, make: Callable[[str], GraspingNode]) -> int:
    """Run a node until it is interrupted; return its exit code: 0, or EXIT_USER_ERROR after one sentence on stderr."""
    node: GraspingNode | None = None
    code = 0
    signals: list[int] = []
    # rclpy's own handlers would shut the context down before the node has published its last messages.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, frame: signals.append(caught))
    try:
        end_with_parent()
        try:
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:
            raise UserError(f"ROS 2 cannot be started with these arguments: {_reason(error)}") from error
        node = make(name)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.create_timer(SIGNAL_SECONDS, lambda: None, clock=node.wall_clock)
        if node.setting("autostart"):
            node.start()
        while not signals:
            executor.spin_once()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except UserError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        code = EXIT_USER_ERROR
    finally:
        # Ctrl-C under `ros2 launch` brings a second interrupt, which must not break the clean-up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.finish()
            node.destroy_node()
        rclpy.try_shutdown()
        # Otherwise the last garbage collection walks through all of torch, for seconds on a busy machine.
        gc.freeze()
    return code


def _reason(error: BaseException) -> str:
    """Return the first line of an error of rcl, without places in its source."""
    return str(error).strip().split("\n")[0].split(", at ")[0]
