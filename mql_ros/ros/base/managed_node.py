"""The life cycle of a node: configure, activate, deactivate, clean up, shut down, and what goes wrong in it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn as Outcome

from mql_ros.core.errors import UserError

WARNING_SECONDS = 10.0
_ENTITIES = ("publisher", "subscription", "client", "service", "timer")


class ManagedNode(LifecycleNode):
    """A node overrides `configure`, `activate`, `deactivate` and `close`; it acts only while `active`.

    What it creates in `configure` is destroyed when it is cleaned up.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.problem = ""
        """What is wrong now, in one sentence; reported as an error until it is empty again."""
        self.warning = ""
        """The last thing that was passed over, for WARNING_SECONDS after it was the last time."""
        self._warned_at = 0.0
        self.configured = False
        self.active = False
        self._starting = False
        self._failure: Exception | None = None
        self._lasting: set[Any] = set()

    # What nodes override.

    def configure(self) -> None:
        """Create what the node needs: topics, services, models. UserError says what stands in the way."""

    def activate(self) -> None:
        """Begin to act."""

    def deactivate(self) -> None:
        """Stop acting, and leave off what is under way."""

    def close(self) -> None:
        """Release what destroy_node does not know of; called once for each `configure`."""

    # What they use.

    def refusal(self) -> str | None:
        """Why a service refuses while the node is not active, in one sentence; None while it is."""
        name = self.get_fully_qualified_name()
        return None if self.active else f"{name} is not active; activate it: ros2 lifecycle set {name} activate"

    def warn(self, text: str) -> None:
        """Report a warning on /diagnostics, and log it when it is a new one."""
        if text != self.warning:
            self.get_logger().warning(text)
        self.warning, self._warned_at = text, time.monotonic()

    def forget_old_warning(self) -> None:
        """Be well again where it has not come back; when it does, it is logged as a new one."""
        if time.monotonic() - self._warned_at > WARNING_SECONDS:
            self.warning = ""

    def fail(self, text: str) -> None:
        """Report an error on /diagnostics and log it."""
        if text != self.problem:
            self.get_logger().error(text)
        self.problem = text

    # Start and end.

    def start(self) -> None:
        """Configure and activate; raises what stands in the way."""
        self._starting = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != Outcome.SUCCESS:
                raise self._failure or UserError("the node cannot be configured and activated")
        self._starting = False

    def finish(self) -> None:
        """Close what is open, on the way out."""
        if self.configured:
            self.configured = False
            self.close()
            self.active = False

    def destroy_node(self) -> None:
        """Destroy the node with its state machine.

        rclpy leaves the state machine alive, and with it the DDS participant and its threads. These may crash the
        process (SIGSEGV) while the interpreter exits.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    # What rclpy calls.

    def on_configure(self, state: LifecycleState) -> Outcome:
        """Carry out `configure`; where that fails nothing of it stays."""
        self._lasting = self._entities()
        outcome = self._carry_out(self.configure)
        self.configured = outcome == Outcome.SUCCESS
        if not self.configured:
            self._destroy_entities()
        return outcome

    def on_activate(self, state: LifecycleState) -> Outcome:
        """Carry out `activate`."""
        self.active = True
        outcome = self._carry_out(self.activate)
        self.active = outcome == Outcome.SUCCESS
        return outcome

    def on_deactivate(self, state: LifecycleState) -> Outcome:
        """Carry out `deactivate`; inactive it is whatever comes of that."""
        outcome = self._carry_out(self.deactivate)
        self.active = False
        return outcome

    def on_cleanup(self, state: LifecycleState) -> Outcome:
        """Undo `configure`."""
        outcome = self._carry_out(self.finish)
        self._destroy_entities()
        return outcome

    def on_shutdown(self, state: LifecycleState) -> Outcome:
        """Leave off and clean up, whatever the state."""
        if self.active:
            self.on_deactivate(state)
        return self.on_cleanup(state) if self.configured else Outcome.SUCCESS

    def on_error(self, state: LifecycleState) -> Outcome:
        """Be unconfigured after an error of the program."""
        self.on_shutdown(state)
        return Outcome.SUCCESS

    def _carry_out(self, step: Callable[[], None]) -> Outcome:
        """rclpy would say nothing of what a step raises."""
        self._failure = None
        try:
            step()
        except UserError as error:
            self._failure = error
            if not self._starting:  # then it is the program's last word instead
                self.fail(str(error))
            return Outcome.FAILURE
        except Exception as error:
            self._failure = error
            self.fail(traceback.format_exc())
            return Outcome.ERROR
        return Outcome.SUCCESS

    def _entities(self) -> set[Any]:
        return {(kind, entity) for kind in _ENTITIES for entity in getattr(self, kind + "s")}

    def _destroy_entities(self) -> None:
        for kind, entity in self._entities() - self._lasting:
            getattr(self, "destroy_" + kind)(entity)
