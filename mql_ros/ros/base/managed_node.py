"""The life cycle of a node: configure, activate, deactivate, clean up, shut down, and their errors."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn as Outcome

from mql_ros.core.errors import UserError

WARNING_SECONDS = 10.0
"""Time for which a warning is reported after it last occurred, s."""
_ENTITIES = ("publisher", "subscription", "client", "service", "timer")


class ManagedNode(LifecycleNode):
    """A node overrides `configure`, `activate`, `deactivate` and `close`; it acts only while `active`.

    What it creates in `configure` is destroyed when it is cleaned up.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.problem = ""
        """The present error in one sentence, or ""; reported on /diagnostics."""
        self.warning = ""
        """The last warning in one sentence, or ""; kept for WARNING_SECONDS after it last occurred."""
        self._warned: dict[str, float] = {}
        """When each kind of warning last occurred, s; of the last WARNING_SECONDS."""
        self.configured = False
        self.active = False
        self._starting = False
        self._failure: Exception | None = None
        self._lasting: set[Any] = set()

    # For nodes to override.

    def configure(self) -> None:
        """Create topics, services and models; raise UserError if that is impossible."""

    def activate(self) -> None:
        """Begin to publish."""

    def deactivate(self) -> None:
        """Stop publishing, and abandon what is under way."""

    def close(self) -> None:
        """Release what destroy_node does not destroy; called once for each `configure`."""

    # For nodes.

    def refusal(self) -> str | None:
        """Return why a service refuses while the node is not active; None while it is active."""
        name = self.get_fully_qualified_name()
        return None if self.active else f"{name} is not active; activate it: ros2 lifecycle set {name} activate"

    def warn(self, text: str, kind: str = "") -> None:
        """Report a warning on /diagnostics, and log it if it is new.

        Warnings of one `kind` differ in their figures only, so the next ones are not logged.
        """
        now = time.monotonic()
        if now - self._warned.get(kind or text, -math.inf) > WARNING_SECONDS:
            self.get_logger().warning(text)
        self.warning, self._warned[kind or text] = text, now

    def forget_old_warnings(self, seconds: float = WARNING_SECONDS) -> None:
        """Drop warnings that have not occurred for some time; if one occurs again, it is logged as a new one."""
        oldest = time.monotonic() - seconds
        self._warned = {kind: at for kind, at in self._warned.items() if at > oldest}
        if not self._warned:
            self.warning = ""

    def fail(self, text: str) -> None:
        """Report an error on /diagnostics, and log it if it is new."""
        if text != self.problem:
            self.get_logger().error(text)
        self.problem = text

    # Start and end.

    def start(self) -> None:
        """Configure and activate; raise the error that prevents it."""
        self._starting = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != Outcome.SUCCESS:
                raise self._failure or UserError("the node cannot be configured and activated")
        self._starting = False

    def finish(self) -> None:
        """Call `close` if the node is configured."""
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

    # Called by rclpy.

    def on_configure(self, state: LifecycleState) -> Outcome:
        """Carry out `configure`; if that fails, destroy what it has created."""
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
        """Carry out `deactivate`; the node is inactive even if that fails."""
        outcome = self._carry_out(self.deactivate)
        self.active = False
        return outcome

    def on_cleanup(self, state: LifecycleState) -> Outcome:
        """Undo `configure`."""
        outcome = self._carry_out(self.finish)
        self._destroy_entities()
        return outcome

    def on_shutdown(self, state: LifecycleState) -> Outcome:
        """Deactivate and clean up, as far as the state needs it."""
        if self.active:
            self.on_deactivate(state)
        return self.on_cleanup(state) if self.configured else Outcome.SUCCESS

    def on_error(self, state: LifecycleState) -> Outcome:
        """Clean up after an error of the program; the node is then unconfigured."""
        self.on_shutdown(state)
        return Outcome.SUCCESS

    def _carry_out(self, step: Callable[[], None]) -> Outcome:
        """Run a step and report its error, which rclpy would drop."""
        self._failure = None
        try:
            step()
        except UserError as error:
            self._failure = error
            if not self._starting:  # run_node prints it instead
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
