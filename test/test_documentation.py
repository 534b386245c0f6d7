"""Whether README and docs name what exists, in short sentences. Run as a program, it prints the words a sentence."""

import argparse
import re
from importlib import import_module
from pathlib import Path

import pytest

from mql_ros.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [str(page.relative_to(ROOT)) for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])]
MOST_WORDS = 16.0
"""Largest mean length of the sentences of a page."""
FOLDERS = ("", "mql_ros", "docs", "docs/results", "config/robots")
"""Folders that a path in a page may begin in."""
MADE = ("out/", "runs/")
"""Folders that commands make."""
CODE = re.compile(r"```.*?```", re.DOTALL)
NO_PROSE = re.compile(r"\s*([|#!<]|- `\S+\.json`: )")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
FILE = re.compile(r"(?<![\w./~-])(?:[a-z_][\w.-]*/)+(?:[a-z_][\w.-]*\.(?:py|ya?ml|md|j2|json|urdf))?(?![\w./-])")


def words_a_sentence(text: str) -> float:
    """Return the mean length of sentences of more than three words, outside code, tables, headings and pictures.

    The records of measurements (items that begin with a JSON file) do not count either.
    """
    lines = [line for line in CODE.sub("", text).splitlines() if not NO_PROSE.match(line)]
    sentences = re.split(r"(?<=[.!?])\s+|\n\s*\n", "\n".join(lines))
    lengths = [len(sentence.split()) for sentence in sentences if len(sentence.split()) > 3]
    return sum(lengths) / max(len(lengths), 1)


def code(text: str) -> list[str]:
    """Return the spans and lines of code."""
    lines = [line for block in CODE.findall(text) for line in block.splitlines()[1:-1]]
    return [*lines, *re.findall(r"`([^`\n]+)`", CODE.sub("", text))]


def options_of(verb: str) -> set[str]:
    parser = argparse.ArgumentParser()
    import_module(f"mql_ros.cli.{verb.replace('-', '_')}").add_arguments(parser)
    return set(OPTION.findall(parser.format_help()))


@pytest.mark.parametrize("page", PAGES)
def test_sentences_of_a_page_are_short(page: str) -> None:
    assert words_a_sentence((ROOT / page).read_text()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    links = {link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link}
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
    named = {path for span in code(text) for path in FILE.findall(span) if not path.startswith(MADE)}
    missing = {path for path in named if not any((ROOT / folder / path).exists() for folder in FOLDERS)}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_exist(page: str) -> None:
    commands = [span.split("#")[0] for span in code((ROOT / page).read_text())]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {match[1] for command in commands if (match := re.match(r"make ([a-z-]+)", command))} - targets == set()
    for command in commands:
        if match := re.search(r"(?:^|/)mql ([a-z-]+)", command):
            assert match[1] in VERBS, command
            assert set(OPTION.findall(command)) - options_of(match[1]) == set(), command


if __name__ == "__main__":
    for name in PAGES:
        print(f"{words_a_sentence((ROOT / name).read_text()):5.1f}  {name}")
