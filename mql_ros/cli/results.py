"""`mql results`: the pages of results, from templates and the JSON files that other verbs wrote."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from mql_ros.core.files import check_writable

HELP = "write docs/results.md, its details and its figures from the templates and JSON files in docs/results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--from", dest="folder", default="docs/results", metavar="DIR",
        help="folder of the templates (*.md.j2) and the JSON files (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", default="docs/results.md", metavar="FILE",
        help="the main page; figures go to images/ beside it, other pages to DIR (default: %(default)s)",
    )  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from mql_ros.reporting.results.page import NOT_MEASURED
    from mql_ros.reporting.results.templates import render_all

    check_writable(arguments.out)
    command = shlex.join(["mql", "results", "--from", arguments.folder, "--out", arguments.out])
    # Nothing is written before everything is rendered.
    pages = render_all(Path(arguments.folder), Path(arguments.out), command)
    written = [path for page, text in pages for path in page.write(text)]
    print(f"wrote {', '.join(map(str, written))}")
    lines = [line for _, text in pages for line in text.splitlines() if line.startswith(NOT_MEASURED)]
    print("".join(f"{line}\n" for line in dict.fromkeys(lines)), end="")
    return 0
