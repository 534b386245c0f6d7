"""The demo: the whole ROS 2 graph on objects never seen in training, and what came of it as HTML and JSON."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.core.files import new_directory

PICTURED = {"zero-shot": "first trial", "adapted": "first adapted trial"}
"""Phases whose first trial is pictured, and how the pictures call it."""
CAMERA_PERIODS = 4
"""Control periods between two pictures."""


def run_demo(names: list[str], trials: int, seed: int, policy: Path, robot: str, out: Path) -> None:
    """Run the demo and leave report, numbers and logs in `out`, all or nothing; UserError keeps the logs elsewhere."""
    started = time.monotonic()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made ({error.strerror}); choose another directory") from error
    with new_directory(out) as work:
        try:
            Demo(names, trials, seed, policy, robot, work, started).run()
        except UserError as error:
            # What the nodes said is all that explains such an error: it is kept, but not where results are expected.
            raise UserError(_keep_logs(str(error), work)) from error


def _keep_logs(message: str, work: Path) -> str:
    """Move the logs of a failed run to a temporary directory; the message with their new place."""
    logs = work / "logs"
    if not logs.is_dir():
        return message
    kept = Path(tempfile.mkdtemp(prefix="mql_demo_")) / "logs"
    shutil.move(logs, kept)
    changed = message.replace(str(logs.absolute()), str(kept))
    return changed if str(kept) in changed else f"{changed} (logs: {kept})"


class Demo:
    """One run of the demo."""

    def __init__(
        self, names: list[str], trials: int, seed: int, policy: Path, robot: str, folder: Path, started: float
    ) -> None:
        from mql_ros.algorithm.policy_bundle import load_bundle
        from mql_ros.grasping.learning.grasp_policy import grasp_learner_of

        self._names, self._trials, self._seed = names, trials, seed
        self._policy, self._robot, self._folder, self._started = policy, robot, folder, started
        self._bundle = load_bundle(policy)
        self._learner = grasp_learner_of(self._bundle)
        self._manifest = self._bundle.manifest
        self._runs: list[Any] = []

    def run(self) -> None:
        """Bring the graph up, go through the objects, and write the results."""
        from mql_ros.grasping.robot.profile import load_profile
        from mql_ros.ros.bringup.client import GraphClient
        from mql_ros.ros.bringup.processes import Domain, GraphProcesses

        given: dict[str, bool | int | float | str] = {
            "lockstep": True,
            "robot": self._robot,
            "bundle": str(self._policy.absolute()),
            "rollback_trials": self._trials,
        }
        print(
            f"starting the graph: {self._robot}, policy {self._policy.name}, objects {', '.join(self._names)}",
            flush=True,
        )
        with (
            Domain(),
            GraphProcesses(given, self._folder / "logs") as processes,
            GraphClient(processes, profile=load_profile(self._robot)) as graph,
        ):
            graph.wait_until_ready()
            print(f"graph ready after {time.monotonic() - self._started:.1f} s", flush=True)
            for name in self._names:
                self._try_object(graph, name)
            transport = graph.middleware()
        self._write(transport, processes.exit_codes)

    def _try_object(self, graph: Any, name: str) -> None:
        from mql_ros.reporting.demo_report import ObjectRun
        from mql_sim.objects.catalogue import thing_of_session

        thing = thing_of_session(name, self._seed)
        held_out = thing.name not in self._manifest["training_objects"]
        sides = " x ".join(f"{100 * side:.0f}" for side in thing.size)
        description = (
            f"{sides} cm, {thing.mass:.2f} kg, friction {thing.friction:.2f}, gives way at {thing.crush_force:.1f} N; "
            f"{'never' if held_out else 'WAS'} in the training set. The policy knows none of this: it sees and feels."
        )
        run = ObjectRun(thing.name, held_out, description)
        self._runs.append(run)
        print(f"\n{thing.name}: {description}", flush=True)
        graph.restore_initial()
        before = self._phase(graph, run, "zero-shot", name, new_session=True)
        run.looks.append(self.look("first trial", [], before[0]))
        # The session that the rest belongs to: from here on the robot keeps everything it has felt.
        new = self._phase(graph, run, "exploration", name, new_session=True)
        control = self._phase(graph, run, "context", name)
        run.looks.append(self.look("after the new trials", new, control[0]))
        graph.set_parameters("adaptation_manager", first_trials=self._length("exploration"))
        run.adaptation = outcome = graph.adapt()
        print(
            f"  adapted on {outcome['new_trials']} trials in {outcome['seconds']:.1f} s: effective sample size "
            f"{outcome['effective_sample_size']:.3f}, proximal coefficient {outcome['proximal_coefficient']:.3f}",
            flush=True,
        )
        heard = graph.counts["adaptation"]
        self._phase(graph, run, "adapted", name)
        # The verdict on the adapted policy follows its last trial.
        graph.wait_for(lambda: graph.counts["adaptation"] > heard, 10.0, "the verdict on the adapted policy")
        run.adaptation = graph.adaptation
        if run.adaptation.get("rolled_back"):
            print(f"  rolled back: {run.adaptation.get('reason', '')}", flush=True)

    def _length(self, phase: str) -> int:
        """Trials of a phase: adaptation is given twice as many as it is judged by."""
        return 2 * self._trials if phase == "exploration" else self._trials

    def look(self, when: str, history: list[Any], transition: Any) -> Any:
        """What the policy of the bundle chose between as a trial began, after a history of transitions."""
        from mql_ros.algorithm.context import ContextTracker
        from mql_ros.grasping.learning.proposals import proposals
        from mql_ros.grasping.task import spaces
        from mql_ros.reporting.demo_report import Look

        sizes = self._bundle.history_blocks, spaces.ACTION_SIZE, spaces.OBSERVATION_SIZE
        tracker = ContextTracker(self._learner.encoder, *sizes)
        for past in history:
            tracker.append(past.action, past.reward, past.next_observation, past.done)
        rivals = proposals(transition.observation, np.random.default_rng(self._seed))
        actions = np.concatenate([rivals, transition.action[None]])
        _, values = self._learner.choose(transition.observation, tracker.context, actions)
        return Look(when, spaces.heights_of(transition.observation), spaces.grasps_of(actions), values)

    def _phase(self, graph: Any, run: Any, phase: str, name: str, new_session: bool = False) -> list[Any]:
        """Run the trials of one phase and return their transitions.

        All but exploration stand the object at the same places; exploration goes on where the phase before ended.
        """
        from mql_ros.grasping.task.reward import SUCCESS_RETURN
        from mql_ros.reporting.demo_report import PHASE_TITLES, PhaseRun

        if phase != "exploration":  # the seed draws hidden properties too: there is one for all phases
            graph.set_parameters("arm_simulator", object=name, seed=self._seed)
        record = run.phases[phase] = PhaseRun(phase)
        trials = self._length(phase)
        total = 0.0

        def on_transition(transition: Any) -> None:
            nonlocal total
            total = transition.reward + (0.0 if transition.step == 0 else total)
            if not transition.done:
                return
            record.successes.append(total >= SUCCESS_RETURN)
            record.returns.append(total)
            print(
                f"  {PHASE_TITLES[phase]}: trial {len(record.successes)}/{trials}  reward {total:+.2f}  "
                f"{'lifted' if record.successes[-1] else 'failed'}  so far {sum(record.successes)}",
                flush=True,
            )

        transitions: list[Any] = []
        pictured = 1 if phase in PICTURED else 0
        if pictured:
            graph.set_camera(CAMERA_PERIODS)
            graph.pictures.clear()
            transitions = graph.run_trials(pictured, new_session=new_session, on_transition=on_transition)
            graph.set_camera(0)
            self._keep_pictures(graph.pictures, transitions, run, PICTURED[phase], record.successes[-1])
        if trials > pictured:
            begins = new_session and not pictured
            transitions += graph.run_trials(trials - pictured, new_session=begins, on_transition=on_transition)
        return transitions

    def _keep_pictures(self, taken: Any, transitions: list[Any], run: Any, when: str, lifted: bool) -> None:
        """The decisive moments of a trial: where the fingers closed, and what came of the lift."""
        moments = {1: "fingers closed", 2: "lifted" if lifted else "not lifted"}
        for transition in transitions:
            if transition.step in moments and taken:
                _, pixels = min(taken, key=lambda picture: abs(picture[0] - transition.stamp))
                run.pictures.append((f"{when}: {moments[transition.step]}", png(pixels)))

    def _write(self, transport: dict[str, Any], exit_codes: dict[str, int]) -> None:
        from mql_ros.reporting.demo_report import build_report

        objects = []
        for run in self._runs:
            info = run.adaptation
            names = (
                "new_trials", "new_transitions", "effective_sample_size", "proximal_coefficient", "classifier_accuracy",
                "seconds", "mean_importance_ratio",
            )  # fmt: skip
            objects.append(
                {
                    "name": run.name,
                    "held_out": run.held_out,
                    "zero_shot": _counts(run.phases["zero-shot"]),
                    "context_only": _counts(run.phases["context"]),
                    "adaptation": {key: info.get(key) for key in names},
                    "adapted": _counts(run.phases["adapted"]),
                    "rolled_back": bool(info.get("rolled_back")),
                }
            )
        seconds = time.monotonic() - self._started
        result = {
            "schema": 1, "transport": transport, "objects": objects, "seconds_total": round(seconds, 1),
            "robot": self._robot, "seed": self._seed, "trials": self._trials, "exit_codes": exit_codes,
        }  # fmt: skip
        (self._folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
        messages = ", ".join(f"{topic} {count}" for topic, count in transport["messages"].items())
        facts = {
            "robot": self._robot,
            "policy": f"{self._policy.name}; {len(self._manifest['training_objects'])} training objects",
            "transport": f"{transport['rmw']}, {transport['processes']} processes; messages: {messages}",
            "placements": f"seed {self._seed}, the same for all three rows of a curve",
            "duration": f"{seconds:.0f} s",
        }
        (self._folder / "report.html").write_text(build_report(self._runs, facts))
        for run in self._runs:
            before, after = run.phases["zero-shot"], run.phases["adapted"]
            print(
                f"{run.name:12} before {sum(before.successes)}/{len(before.successes)}  "
                f"control {sum(run.phases['context'].successes)}/{len(run.phases['context'].successes)}  "
                f"adapted {sum(after.successes)}/{len(after.successes)}"
            )


def _counts(phase: Any) -> dict[str, int]:
    return {"successes": int(sum(phase.successes)), "trials": len(phase.successes)}


def png(pixels: Any) -> bytes:
    """PNG of an RGB picture [height, width, 3]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
