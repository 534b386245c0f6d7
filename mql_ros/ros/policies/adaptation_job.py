"""One adaptation in a child process, beside the control loop (needs no rclpy).

    python -m mql_ros.ros.policies.adaptation_job request.json

reads the request and the new sessions, adapts the policy, writes a new bundle and then the result. It exits with
code 2 and one sentence on standard error if it cannot.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.core.errors import EXIT_USER_ERROR, UserError
from mql_ros.core.files import write_json


@dataclass(frozen=True)
class AdaptationRequest:
    """Input files of an adaptation, its settings and its output files."""

    bundle: str
    """Directory of the policy bundle to adapt."""
    hash: str
    """SHA-256 of its manifest, which must not have changed."""
    sessions: str
    """File with the new sessions (`session_files.write_sessions`)."""
    new_trials: int
    """Number of trials in them."""
    output: str
    """Directory of the new bundle, which must not exist."""
    version: int
    """Version of the new bundle."""
    result: str
    """File (.json) for the result, written last."""
    settings: dict[str, Any]
    """Fields of AdaptationConfig, as the node's parameters give them."""

    def write(self, path: Path) -> None:
        """Write the request as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def read(path: Path) -> AdaptationRequest:
        """Read a request from the file that `write` wrote."""
        return AdaptationRequest(**json.loads(path.read_text()))


def config_values(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of AdaptationConfig for parameter values.

    `proximal` may hold a number as text, and a step size of 0 means that of the bundle. UserError for other text.
    """
    values = dict(settings)
    if values.get("proximal", "ess") != "ess":
        try:
            values["proximal"] = float(values["proximal"])
        except ValueError:
            raise UserError(f"adaptation.proximal is '{values['proximal']}'; expected 'ess' or a number") from None
    return values | {"step_size": values.get("step_size") or None}


def run(request: AdaptationRequest) -> dict[str, Any]:
    """Adapt, write the new bundle and return the result; UserError if that is impossible."""
    import torch

    from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, adapt
    from mql_ros.algorithm.experience.replay import Replay
    from mql_ros.algorithm.experience.session_files import read_sessions
    from mql_ros.algorithm.policy_bundle import load_bundle, save_bundle
    from mql_ros.grasping.learning.grasp_policy import grasp_learner_of

    torch.set_num_threads(1)
    bundle = load_bundle(request.bundle)
    if bundle.hash != request.hash:
        raise UserError(f"policy bundle {request.bundle} was changed since it was announced; announce it anew")
    learner, meta = grasp_learner_of(bundle), bundle.make_replay()
    sessions = read_sessions(Path(request.sessions))
    try:
        new = Replay.of(sessions, *meta.sizes, meta.view_size)
        config = AdaptationConfig(**config_values(request.settings))
        found = adapt(learner, meta, new, config)
    except ValueError as error:
        raise UserError(str(error)) from error
    numbers = {
        "version": request.version,
        "started_from": bundle.manifest["version"],
        "new_sessions": len(sessions),
        "new_trials": request.new_trials,
        "new_transitions": found.new_transitions,
        "effective_sample_size": found.effective_sample_size,
        "proximal_coefficient": found.proximal_coefficient,
        "classifier_accuracy": found.classifier_accuracy,
        "overlap": found.overlap,
        "mean_importance_ratio": found.mean_importance_ratio,
        "new_updates": found.new_updates,
        "recycling_updates": found.recycling_updates,
        "parameter_distance": found.parameter_distance,
        "seconds": found.seconds,
        "messages": found.reasons,
    }
    numbers = {name: _plain(value) for name, value in numbers.items()}
    manifest = bundle.manifest
    extra = {**manifest["extra"], "adaptation": numbers, "adapted_from": bundle.hash}
    written = save_bundle(
        request.output,
        learner,
        robot=manifest["robot"],
        task=manifest["task"],
        replay=meta,
        training=manifest["training"],
        seeds=manifest["seeds"],
        measured=manifest["measured"],
        training_objects=manifest["training_objects"],
        version=request.version,
        extra=extra,
    )
    return {**numbers, "bundle": request.output, "hash": written}


def _plain(value: Any) -> Any:
    """Return the value without numpy types and NaN, which JSON cannot hold."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _end_with_parent() -> None:
    """End when standard input closes: the parent process is gone."""

    def watch() -> None:
        os.read(0, 1)  # not through sys.stdin, whose lock would be held while the interpreter ends
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Carry out the request in the file named by the argument; return the exit code."""
    _end_with_parent()
    try:
        request = AdaptationRequest.read(Path(arguments[0]))
        result = run(request)
        write_json(request.result, result)
        return 0
    except UserError as error:
        print(error, file=sys.stderr)
        return EXIT_USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
