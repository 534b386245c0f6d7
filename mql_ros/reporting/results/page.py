"""What the tables and figures of `mql results` share: reading JSON files, Markdown tables, where a number is from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mql_ros.core.errors import UserError
from mql_ros.core.files import write_text
from mql_ros.evaluation.runner import duration
from mql_ros.reporting.figures import save_small_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Files = list[tuple[str, dict[str, Any]]]
"""Name, relative to the folder of results, and contents."""


@dataclass
class Page:
    """The document that is being made."""

    folder: Path
    """Where the JSON files are."""
    out: Path
    """The Markdown file."""
    images: Path
    """The folder of the pictures."""
    drawn: set[str]
    """Names of the pictures that this page or one before it draws."""
    figures: dict[str, Figure] = field(default_factory=dict)
    """Pictures to write, by name."""

    def read(self, words: Sequence[str]) -> tuple[Files, str]:
        """The files that names or patterns such as `seed*.json` stand for, and a paragraph about those missing.

        Raises:
            UserError: there is no name, or a file is not a JSON object.
        """
        if not words:
            raise UserError("it needs the name of a JSON file")
        found: Files = []
        missing = []
        for word in words:
            if any(sign in word for sign in "*?["):
                paths = sorted(self.folder.glob(word))
            else:
                paths = [path for path in [self.folder / word] if path.is_file()]
            found += [(path.relative_to(self.folder).as_posix(), read_json(path)) for path in paths]
            missing += [] if paths else [not_measured(word)]
        return found, "\n\n".join(missing)

    def write(self, text: str) -> list[Path]:
        """Write the page and its pictures; return their paths."""
        if self.figures:
            try:
                self.images.mkdir(exist_ok=True)
            except OSError as error:
                raise UserError(f"{self.images} cannot be made ({error.strerror}); choose another --out") from error
        for name, picture in self.figures.items():
            save_small_figure(picture, self.images / name)
        write_text(self.out, text)
        return [self.out, *(self.images / name for name in self.figures)]


NOT_MEASURED = "not measured yet: "


def not_measured(name: str) -> str:
    """The line that stands where a file is missing."""
    return NOT_MEASURED + name


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; UserError names the file and what is wrong with it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError too
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} is not a JSON object but a {type(data).__name__}")
    return data


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


@contextmanager
def form_of(name: str, writer: str) -> Iterator[None]:
    """Turn the errors of reading entries that are not there, or of another kind, into one about the file."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        what = f"there is no entry {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{name} does not have the form that {writer} writes: {what}") from error


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows under their headings (the first row), without the columns that are empty; numbers to the right."""
    kept = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
    right = [all(row[k].strip("*")[:1] in "+-–.0123456789" for row in rows[1:]) for k in kept]
    lines = ["| " + " | ".join(row[k].replace("|", "\\|") for k in kept) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("---:" if r else "---" for r in right) + "|", *lines[1:]])


def paragraphs(*parts: str) -> str:
    """The parts that are not empty, an empty line between two."""
    return "\n\n".join(part for part in parts if part)


def interval(span: Sequence[float], sign: str = "") -> str:
    """`[0.123, 0.456]`, with `sign` "+" as signed numbers."""
    low, high = span
    return f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def by_trial(rates: Sequence[float]) -> str:
    """`.56 .85 1.00`."""
    return " ".join(map(short, rates))


def short(rate: float) -> str:
    """`.56`."""
    return f"{rate:.2f}".removeprefix("0")


def file_label(name: str, files: Files) -> str:
    """A file's name where several stand in one table."""
    return name.removesuffix(".json") if len(files) > 1 else ""


def provenance_of(page: Page, words: Sequence[str]) -> str:
    """`provenance` of the named files, for templates."""
    files, missing = page.read(words)
    return paragraphs(provenance(files), missing)


def provenance(files: Files) -> str:
    """A line for each file: command, seeds, objects, time, hardware and bundle, as far as its settings hold them."""
    lines = []
    for name, data in files:
        with form_of(name, "`mql`"):
            lines.append(f"- `{name}`: " + "; ".join(_facts(data)))
    return "\n".join(lines)


def _facts(data: Mapping[str, Any]) -> list[str]:
    settings = data.get("settings") or {}
    facts = [command_text(settings)]
    objects = data.get("objects")
    if isinstance(objects, dict):
        facts.append(plural(len(objects), "object"))
    elif isinstance(settings.get("objects"), list):
        facts.append("objects " + ", ".join(map(str, settings["objects"])))
    if isinstance(settings.get("seeds"), int):
        facts.append(plural(settings["seeds"], "seed") + " an object")
    elif "seeds" in settings or "seed" in settings:
        facts.append(f"seed {settings.get('seeds', settings.get('seed'))}")
    if trained_on := settings.get("trained_on"):
        facts.append(f"{trained_on} of the objects were trained on")
    facts += _counted(data)
    if overrides := settings.get("overrides"):
        facts.append("settings " + " ".join(map(str, overrides)))
    if "seconds" in settings:
        took = duration(settings["seconds"])
        if resumed := settings.get("sessions_resumed"):
            took += f" without the {resumed} of {settings['sessions']} sessions that an interrupted run had done before"
        facts.append(took + (f" with {plural(workers, 'process')}" if (workers := settings.get("workers")) else ""))
    facts.append(hardware_text(settings.get("hardware")))
    if "bundle_hash" in settings:
        facts.append(f"bundle {settings.get('policy', '')} `{settings['bundle_hash'][:16]}`")
    return facts


def _counted(data: Mapping[str, Any]) -> list[str]:
    """Sessions that could not be run, and how the reward agreed with the simulator."""
    facts = []
    if unseen := data.get("sessions_unseen"):
        facts.append(f"{plural(unseen, 'session')} whose object was not seen")
    if judged := data.get("judged"):
        wrong = f"{judged['false_lifts']} lifts that were none and missed {judged['missed_lifts']}"
        facts.append(f"the reward saw {wrong} of {judged['trials']:,} trials")
    return facts


def command_text(settings: Mapping[str, Any]) -> str:
    """The exact command, given as one line or as a list of words."""
    command = settings.get("command")
    if not command:
        return "command not recorded"
    words = command.split(" ") if isinstance(command, str) else [str(word) for word in command]
    return f"`{' '.join(_with_ranges(words))}`"


def _with_ranges(words: Sequence[str]) -> list[str]:
    """Runs of numbered names as a shell's brace expansion: thing-{1000..1039}."""
    short: list[str] = []
    runs: list[tuple[str, int, list[str]]] = []
    for word in words:
        stem, _, number = word.rpartition("-")
        value = int(number) if stem and number.isdecimal() else -1
        if runs and runs[-1][0] == stem and value >= 0 and runs[-1][1] + 1 == value:
            runs[-1] = (stem, value, [*runs[-1][2], word])
        else:
            runs.append((stem, value, [word]))
    for stem, _, run in runs:
        ends = [word.removeprefix(f"{stem}-") for word in (run[0], run[-1])]
        short += [f"{stem}-{{{ends[0]}..{ends[1]}}}"] if len(run) > 2 else run
    return short


def hardware_text(hardware: Any) -> str:
    """Hardware and versions as `mql evaluate` or the training of a benchmark writes them."""
    if not isinstance(hardware, dict):
        return f"hardware {hardware}" if hardware else "hardware not recorded"
    words = {"cpus": "{} cores", "cores": "{} cores", "python": "Python {}", "torch": "torch {}", "device": "on {}"}
    return ", ".join(words.get(key, "{}").format(value) for key, value in hardware.items() if key != "machine")


def plural(count: int, word: str) -> str:
    """`1 object`, `2 objects`."""
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"
