"""`mql bench`: how fast things are, each beside a baseline."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from mql_ros.bench.benchmarks import BENCHMARKS, Subject, measure
from mql_ros.core.errors import UserError
from mql_ros.core.files import check_writable, write_json
from mql_ros.core.hardware import hardware
from mql_ros.reporting.figures import check_figure, save_figure, scaling_figure
from mql_ros.reporting.text_table import table

HELP = "measure simulator, perception, policy and adaptation on one core, and the graph; print each beside its goal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    parser.add_argument("--figure", metavar="FILE", help="draw there how the cost of an update grows (.png or .svg)")
    parser.add_argument("--bundle", metavar="DIR", help="policy bundle to measure with (default: the shipped one)")
    parser.add_argument(
        "--decisions", type=int, default=10_000, metavar="N",
        help="decisions of the benchmark deadlines (default: 10000, which takes half an hour)",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(BENCHMARKS), help="these benchmarks only")


def main(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    import torch

    check_writable(arguments.json)
    check_figure(arguments.figure)
    if arguments.figure and arguments.only and "scaling" not in arguments.only:
        raise UserError("--figure draws the benchmark scaling; name it in --only too, or leave --only out")
    torch.set_num_threads(1)
    if arguments.decisions < 1:
        raise UserError(f"--decisions {arguments.decisions} measures nothing; expected 1 or more")
    subject = Subject(arguments.bundle, arguments.decisions)
    if arguments.bundle:
        assert subject.bundle  # a bundle that was asked for and is broken ends here, before anything is measured
    results = measure(subject, arguments.only)
    if results:
        rows = [["benchmark", "value", "unit", "baseline", "ratio", "the baseline is"]]
        rows += [
            [r.name, f"{r.value:.4g}", r.unit, f"{r.baseline:.4g}", f"{r.ratio:.2f}", r.baseline_name] for r in results
        ]
        print(table(rows))
        print("ratio: how many times better than the baseline")
    if arguments.json:
        known = {"command": shlex.join(["mql", *sys.argv[1:]]), "hardware": hardware()}
        write_json(Path(arguments.json), {result.name: result.as_dict() | known for result in results})
    if arguments.figure:
        save_figure(scaling_figure({result.name: result.value for result in results}), arguments.figure)
    return 0
