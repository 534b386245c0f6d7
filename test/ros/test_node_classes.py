"""The node classes themselves: rclpy's Node keeps much of its own under private names."""

import ast
import inspect
from importlib import import_module

import pytest
import rclpy
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode, ManagedEntity

from mql_ros.ros.bringup.node_table import NODES

BASES = ("mql_ros.ros.base.managed_node", "mql_ros.ros.base.node")
EXTENDED = {"destroy_node"}
"""Methods that call rclpy's own."""


@pytest.mark.parametrize("module", [*BASES, *(entry.module for entry in NODES)])
def test_nothing_of_rclpy_is_overwritten(module: str) -> None:
    context = Context()
    rclpy.init(context=context)
    node = LifecycleNode("plain", context=context)
    taken = set(dir(node)) | set(vars(node))
    node.destroy_node()
    context.try_shutdown()
    (made,) = [
        kind
        for _, kind in inspect.getmembers(import_module(module), inspect.isclass)
        if issubclass(kind, rclpy.node.Node) and kind.__module__ == module
    ]
    assigned = {
        target.attr
        for statement in ast.walk(ast.parse(inspect.getsource(import_module(module))))
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
    }
    methods = {name for name in vars(made) if not name.startswith("__")}
    hooks = {name for name in vars(ManagedEntity) if name.startswith("on_")}  # they are there to be overridden
    assert not ((assigned | methods) & taken) - hooks - EXTENDED
