"""The emulated API takes the arguments that the real reference documents, in its order and with its defaults."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
from pathlib import Path

import pytest

from nkifix.emulator import serving
from nkifix.emulator.frontends.legacy.documented import DOCUMENTED

pytestmark = pytest.mark.upstream

VARIABLE = "NKIFIX_NEURON_SDK"
"""Environment variable holding the path of a clone of aws-neuron/aws-neuron-sdk, bare or not."""
TAG = "v2.26.0"
PAGES = {
    "neuronxcc.nki": "__init__.py",
    "neuronxcc.nki.language": "language/__init__.py",
    "neuronxcc.nki.isa": "isa/__init__.py",
    "neuronxcc.nki.compiler": "compiler/__init__.py",
    "neuronxcc.nki.compiler.sbuf": "compiler/sbuf.py",
    "neuronxcc.nki.compiler.psum": "compiler/psum.py",
}


def reference(module: str) -> ast.Module:
    clone = os.environ.get(VARIABLE)
    if not clone:
        pytest.skip(f"{VARIABLE} is not set: it would name a clone of aws-neuron/aws-neuron-sdk")
    path = f"{TAG}:general/nki/api/nki/{PAGES[module]}"
    command = ["git", "-C", str(Path(clone)), "show", path]
    return ast.parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def parameters(function: ast.FunctionDef) -> list[tuple[str, str, bool]]:
    """(name, kind, has a default) of a documented function, without ``**kwargs``."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    found = [(one.arg, "positional", number >= without) for number, one in enumerate(positional)]
    found += [
        (one.arg, "keyword", default is not None)
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return found


def offered(function: object) -> list[tuple[str, str, bool]]:
    kinds = {
        inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
        inspect.Parameter.POSITIONAL_ONLY: "positional",
        inspect.Parameter.KEYWORD_ONLY: "keyword",
    }
    return [
        (one.name, kinds[one.kind], one.default is not inspect.Parameter.empty)
        for one in inspect.signature(function).parameters.values()  # type: ignore[arg-type]
        if one.kind in kinds
    ]


@pytest.mark.parametrize("module", PAGES)
def test_every_function_takes_the_documented_arguments(module: str) -> None:
    documented = [node for node in reference(module).body if isinstance(node, ast.FunctionDef)]
    with serving():
        served = importlib.import_module(module)
        wrong = {}
        for function in documented:
            wanted, ours = parameters(function), offered(getattr(served, function.name))
            in_order = [one for one in ours if one[1] == "positional"]
            if in_order != [one for one in wanted if one[1] == "positional"] or not set(wanted) <= set(ours):
                wrong[function.name] = (wanted, ours)
    assert wrong == {}


@pytest.mark.parametrize("module", PAGES)
def test_table_of_documented_names_is_the_reference(module: str) -> None:
    names = set()
    for node in reference(module).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    assert set(DOCUMENTED[module]) == names
