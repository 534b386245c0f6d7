"""The demo: the whole ROS 2 graph on objects never seen in training, and what came of it as HTML and JSON."""

from __future__ import annotations

import io
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.core.files import new_directory

FILMED = {"before": "first trial", "adapted": "first trial after adaptation"}
"""Phases whose first trial is filmed, and how its filmstrip is called."""
CAMERA_PERIODS = 4
"""Control periods between two pictures."""
FILM_SIDE = 240
"""Pixels of a picture in NAME.png, the filmstrips of an object."""
SLOWEST = 120.0
"""Longest mean time of a trial, s: a busy machine is slow, and a process that has died is noticed anyway."""


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
            # The nodes' output alone explains such an error: it is kept, but not in the folder of results.
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
        from mql_ros.reporting.recall import recall_of
        from mql_ros.reporting.thumbnails import thumbnail
        from mql_sim.objects.catalogue import thing_of_session
        from mql_sim.objects.hidden import slip_force
        from mql_sim.objects.thing import UNCRUSHABLE

        thing = thing_of_session(name, self._seed)
        held_out = thing.name not in self._manifest["training_objects"]
        sides = " x ".join(f"{100 * side:.0f}" for side in thing.size)
        slip, crush = slip_force(thing.mass, thing.friction), thing.crush_force
        most = f"more than {crush:.0f} N crush it" if crush < UNCRUSHABLE else "nothing crushes it"
        description = (
            f"{sides} cm, {thing.mass:.2f} kg, friction {thing.friction:.2f}. It slips from a grip of less than "
            f"{slip:.1f} N; {most}. {'Never' if held_out else 'ONCE'} trained on. The policy is told none of this."
        )
        run = ObjectRun(thing.name, held_out, description, thumbnail(thing))
        self._runs.append(run)
        print(f"\n{thing.name}: {description}", flush=True)
        graph.restore_initial()
        before = self._phase(graph, run, "before", name, new_session=True)
        run.looks.append(self.look("first trial, nothing felt yet", [], before[0]))
        # The session that the rest belongs to: from here on the robot keeps everything it has felt.
        new = self._phase(graph, run, "exploration", name, new_session=True)
        control = self._phase(graph, run, "context", name)
        run.looks.append(self.look(f"the same place after {self._length('exploration')} new trials", new, control[0]))
        graph.set_parameters("adaptation_manager", first_trials=self._length("exploration"))
        run.adaptation = outcome = graph.adapt()
        print(
            f"  adapted on {outcome['new_trials']} trials in {outcome['seconds']:.1f} s: effective sample size "
            f"{outcome['effective_sample_size']:.3f}, proximal coefficient {outcome['proximal_coefficient']:.3f}",
            flush=True,
        )
        announced = graph.counts["adaptation"]
        adapted = self._phase(graph, run, "adapted", name)
        if outcome["mean_importance_ratio"]:
            trials, old = session_of([*before, *new, *control, *adapted]), self._bundle.make_replay().sessions()
            run.recall = recall_of(thing.name, trials, old, outcome["mean_importance_ratio"])
        # The verdict on the adapted policy follows its last trial.
        graph.wait_for(lambda: graph.counts["adaptation"] > announced, 10.0, "the verdict on the adapted policy")
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
        filmed = 1 if phase in FILMED else 0
        if filmed:
            graph.set_camera(CAMERA_PERIODS)
            graph.pictures.clear()
            transitions = graph.run_trials(
                filmed, new_session=new_session, on_transition=on_transition, seconds_per_trial=SLOWEST
            )
            graph.set_camera(0)
            run.films.append((FILMED[phase], filmstrip(graph.pictures, transitions, record.successes[-1])))
        if trials > filmed:
            begins = new_session and not filmed
            transitions += graph.run_trials(
                trials - filmed, new_session=begins, on_transition=on_transition, seconds_per_trial=SLOWEST
            )
        return transitions

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
                    "zero_shot": _counts(run.phases["before"]),
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
            "placements": f"seed {self._seed}, the same in each row but the new trials",
            "duration": f"{seconds:.0f} s",
        }
        (self._folder / "report.html").write_text(build_report(self._runs, facts))
        for run in self._runs:
            if films := [[picture for _, picture in film] for _, film in run.films if film]:
                name = re.sub(r"[^\w-]+", "-", run.name)  # that of a file's object may be anything
                (self._folder / f"{name}.png").write_bytes(joined(films))
            before, after = run.phases["before"], run.phases["adapted"]
            print(
                f"{run.name:12} before {sum(before.successes)}/{len(before.successes)}  "
                f"context alone {sum(run.phases['context'].successes)}/{len(run.phases['context'].successes)}  "
                f"adapted {sum(after.successes)}/{len(after.successes)}"
            )


def _counts(phase: Any) -> dict[str, int]:
    return {"successes": int(sum(phase.successes)), "trials": len(phase.successes)}


def filmstrip(taken: Any, transitions: list[Any], lifted: bool) -> list[tuple[str, bytes]]:
    """Captions and PNGs of the moments of a trial, from pictures and their driver times (s)."""
    from mql_ros.reporting.thumbnails import png

    if not taken:
        return []
    stamps = np.array([stamp for stamp, _ in taken])
    placed, closed, end = (transition.stamp for transition in transitions[:3])
    moments = (
        ("begin", stamps[0]), ("on the way", 0.4 * stamps[0] + 0.6 * placed), ("fingers in place", placed),
        ("fingers closed", closed), ("lifted" if lifted else "not lifted", end),
    )  # fmt: skip
    return [(caption, png(taken[int(np.argmin(np.abs(stamps - stamp)))][1])) for caption, stamp in moments]


def joined(films: list[list[bytes]]) -> bytes:
    """One PNG of filmstrips, one below the other, each picture FILM_SIDE pixels wide and high."""
    from PIL import Image

    from mql_ros.reporting.thumbnails import png

    size = (FILM_SIDE, FILM_SIDE)
    rows = [
        np.concatenate([np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize(size)) for data in film], axis=1)
        for film in films
    ]
    width = min(row.shape[1] for row in rows)
    return png(np.concatenate([row[:, :width] for row in rows]))


def session_of(transitions: list[Any]) -> Any:
    """The transitions of trials with one object as a session."""
    from mql_ros.algorithm.experience.session import Session

    columns = ("observation", "action", "reward", "next_observation", "done", "terminal")
    rows = {name: np.array([getattr(step, name) for step in transitions]) for name in columns}
    return Session("new", **rows, block=np.cumsum(rows["done"]) - rows["done"])
