"""The whole graph as processes over DDS, in a ROS domain of its own; one graph serves most tests.

pytest loads this file without rclpy too, so what needs it is imported in the fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.graph import Graph


@pytest.fixture(scope="session", autouse=True)
def domain() -> Iterator[None]:
    import torch

    from mql_ros.ros.bringup.processes import Domain

    torch.set_num_threads(1)  # as in the nodes: equal to the last bit is what is tested
    with Domain():
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small policy that was not trained, with something to recycle."""
    from helpers.graph import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundle") / "policy")


@pytest.fixture(scope="session")
def make_graph(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Graph]:
    from helpers.graph import Graph

    def make(namespace: str = "", **parameters) -> Graph:
        settings = {"bundle": str(bundle), "adaptation.batch_size": 4, "adaptation.recycling_updates": 20}
        settings |= {"adaptation.proximal_scale": 1.0, "adaptation.resampled_histories": 1}
        return Graph({**settings, **parameters}, tmp_path_factory.mktemp("logs"), namespace)

    return make


@pytest.fixture(scope="session")
def graph(make_graph: Callable[..., Graph]) -> Iterator[Graph]:
    """In lockstep; a test begins a session of its own with `graph.begin`."""
    with make_graph(lockstep=True) as running:
        yield running
    assert set(running.processes.exit_codes.values()) == {0}
