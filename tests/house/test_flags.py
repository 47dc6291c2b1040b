"""Flags are declared by commands alone, when they start."""

import ast
import importlib
from pathlib import Path

from absl import flags

from tests.support.commands import ROOT
from tests.support.house import allowed_imports, room_files

# The only file that declares flags, those of dataclasses.
DECLARING = {"cli/flags.py"}
# The program of a worker process: to import it is to run it.
_PROGRAMS = {"pipeline/engines/worker_main.py"}


def declaring_functions(path: Path) -> set[str]:
    """Names of the functions that call absl's DEFINE_...; "" is the module itself."""
    names = set()

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        name = getattr(node, "attr", getattr(node, "id", ""))
        if isinstance(name, str) and name.startswith("DEFINE_"):
            names.add(function)
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse((ROOT / path).read_text()), "")
    return names


def test_only_commands_and_what_they_share_declare_flags():
    declaring = {}
    for path in room_files():
        if functions := declaring_functions(path):
            declaring[path.as_posix()] = functions
    assert declaring.keys() == DECLARING
    assert all(all("define" in name for name in names) for names in declaring.values()), declaring


def test_importing_the_tree_declares_no_flag():
    modules = []
    for path in room_files():
        if path.as_posix() not in _PROGRAMS:
            parts = path.with_suffix("").parts
            modules.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    for module in modules:
        importlib.import_module(module)
    declared = flags.FLAGS.flags_by_module_dict()
    assert not {module for module in declared if module.split(".")[0] in allowed_imports()}


def test_the_global_flags_are_used_nowhere():
    using = {
        path.as_posix()
        for path in room_files()
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "FLAGS"
    }
    assert not using
