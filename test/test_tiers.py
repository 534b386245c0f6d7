"""Tests that need rclpy are never left out unnoticed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
WITHOUT_RCLPY = "import sys, pytest; sys.modules['rclpy'] = None; sys.exit(pytest.main(sys.argv[1:]))"


def run_without_rclpy(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as though rclpy were not installed."""
    command = [sys.executable, "-c", WITHOUT_RCLPY, "-p", "no:cacheprovider", "-ra", *arguments]
    inherited = {key: value for key, value in os.environ.items() if key != "CI"}
    return subprocess.run(
        command, cwd=TESTS.parent, capture_output=True, text=True, timeout=120, env={**inherited, **environment},
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "code", "summary"),
    [({}, 0, "2 skipped in"), ({"CI": "true"}, 1, "2 errors in")],
    ids=["here", "CI"],
)
def test_a_missing_rclpy_is_a_reported_skip_and_an_error_in_ci(
    environment: dict[str, str], code: int, summary: str
) -> None:
    result = run_without_rclpy(str(TESTS / "ros"), str(TESTS / "system"), **environment)
    assert result.returncode == code, result.stdout + result.stderr
    assert summary in result.stdout and "rclpy is missing: install the extra `ros`" in result.stdout


@pytest.mark.slow
def test_the_fast_tier_does_not_need_rclpy_in_ci() -> None:
    only = str(TESTS / "test_tiers.py"), "--deselect", "test/test_tiers.py"
    result = run_without_rclpy(str(TESTS / "ros"), *only, "-m", "not ros and not slow", CI="true")
    assert result.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, result.stdout + result.stderr
    assert "error" not in result.stdout
