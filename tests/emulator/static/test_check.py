"""Which functions are looked at, and what a launch does with the findings."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import KernelFault, Params, machine
from nkifix.emulator.frontends.legacy import kernel as nki_emulated
from nkifix.emulator.static import check_function, check_source

CODE = "err_local_variable_used_out_of_scope"
IMPORTS = "import neuronxcc.nki as nki\nimport neuronxcc.nki.language as nl\n"
BODY = """
    for i in range(2):
        t = nl.load(a)
    return t
"""
ROOT = Path(__file__).resolve().parents[3]


def lines(text: str) -> list[int]:
    return [one.line for one in check_source(text, "k.py")]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("@nki.jit\ndef f(a):", id="jit"),
        pytest.param("@nki.jit(mode='trace')\ndef f(a):", id="jit with options"),
        pytest.param("@nki.baremetal\ndef f(a):", id="baremetal"),
        pytest.param("def f(a):", id="a helper that calls the language"),
        pytest.param("class K:\n  def f(a):", id="method"),
        pytest.param("def host():\n  @nki.jit\n  def f(a):", id="inside a function of the host"),
    ],
)
def test_looks_at_kernels_and_helpers(header: str) -> None:
    indented = textwrap.indent(BODY, "  ") if header.count("\n  ") else BODY
    text = IMPORTS + header + indented
    assert lines(text) == [text.count("\n")]


@pytest.mark.parametrize(
    ("imports", "load"),
    [
        pytest.param("import neuronxcc.nki.language as nl", "nl.load", id="as"),
        pytest.param("import nki.language as nl", "nl.load", id="the newer package"),
        pytest.param("from neuronxcc.nki import language as nl", "nl.load", id="from"),
        pytest.param("from neuronxcc.nki.language import load", "load", id="function"),
        pytest.param("from neuronxcc.nki.language import load as get", "get", id="renamed function"),
        pytest.param("import neuronxcc.nki.language", "neuronxcc.nki.language.load", id="in full"),
        pytest.param("import neuronxcc.nki as nki", "nki.language.load", id="through the package"),
        pytest.param("import neuronxcc", "neuronxcc.nki.isa.tensor_copy", id="through its root"),
    ],
)
def test_knows_the_language_by_any_import(imports: str, load: str) -> None:
    assert lines(f"{imports}\ndef f(a):{BODY.replace('nl.load', load)}") == [5]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"import numpy as nl\ndef f(a):{BODY}", id="another module's load"),
        pytest.param(f"from . import nl\ndef f(a):{BODY}", id="a module of the package"),
        pytest.param(f"{IMPORTS}t = 1\nfor i in range(2):\n    t = t + 1\n", id="no function"),
        pytest.param(f"{IMPORTS}def f(a):\n    for i in range(2):\n        t = a.load(i)\n    return t\n", id="method"),
        pytest.param(
            f"{IMPORTS}def host(a):\n    n = 0\n    for i in range(2):\n        n += 1\n        print(a[n])\n",
            id="host",
        ),
    ],
)
def test_leaves_other_code_alone(text: str) -> None:
    assert lines(text) == []


def test_refuses_text_that_is_no_python() -> None:
    with pytest.raises(SyntaxError):
        check_source("def", "k.py")


def test_own_kernels_have_no_findings() -> None:
    files = [
        *ROOT.glob("vendored_kernel/*.py"),
        *ROOT.glob("tests/specimens/*.py"),
        *ROOT.glob("src/nkifix/specimens/*.py"),
    ]
    assert len(files) > 5
    assert [one for file in files for one in check_source(file.read_text("utf-8"), file.name)] == []


# ------------------------------------------------------------------------------------------------- launching

MODULE = """\
import numpy as np
import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


def finish(out, a):
    for i in nl.affine_range(1):
        t = nl.load(a)
    nl.store(out, t)


def not_called(a):
    for i in nl.affine_range(1):
        t = nl.load(a)
    return t


def middle(out, a):
    finish(out, a)
    middle if out is None else None


@nki.jit
def kernel(a):
    out = nl.ndarray((1, 4), np.float32, buffer=nl.shared_hbm)
    middle(out, a)
    return out


@nki.jit
def legal(a):
    out = nl.ndarray((1, 4), np.float32, buffer=nl.shared_hbm)
    nl.store(out, nl.load(a))
    return out
"""


@pytest.fixture
def module(project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from nkifix.emulator import serving

    project.add("static_kernel.py", MODULE)
    with serving(beside_real=True):
        import static_kernel  # type: ignore[import-not-found]

        yield static_kernel


def test_launch_refuses_before_the_kernel_runs(module: Any) -> None:
    with pytest.raises(KernelFault) as caught:
        module.kernel("never looked at")
    assert caught.value.code == CODE
    assert caught.value.where == f"{module.__file__}:9"


def test_function_has_the_findings_of_what_it_calls(module: Any) -> None:
    assert [one.line for one in check_function(module.kernel)] == [9]
    assert [one.line for one in check_function(module.not_called)] == [15]
    assert check_function(module.legal) == []


def test_rule_that_is_off_lets_the_kernel_run(module: Any) -> None:
    ones = np.ones((1, 4), np.float32)
    with machine.using(Params(rules_off=frozenset({CODE}))):
        np.testing.assert_array_equal(module.kernel(ones), ones)
    np.testing.assert_array_equal(module.legal(ones), ones)


@pytest.mark.parametrize("text", ["", "def f(:\n", "x = 1\n"], ids=["no source", "no longer Python", "changed since"])
def test_function_without_its_source_has_no_findings(text: str, tmp_path: Path) -> None:
    file = tmp_path / f"gone{len(text)}.py"
    if text:
        file.write_text(text, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(f"def f(a):{BODY}", str(file), "exec"), names)
    assert check_function(names["f"]) == []


def test_what_has_no_code_has_no_findings() -> None:
    assert check_function(len) == []


def test_kernel_of_an_interactive_session_runs() -> None:
    names: dict[str, Any] = {"nki": nki_emulated, "np": np}
    exec("from nkifix.emulator.frontends.legacy import language as nl", names)
    exec(
        "@nki.jit\ndef k(a):\n  o = nl.ndarray((1, 4), np.float32, buffer=nl.shared_hbm)\n"
        "  for i in nl.static_range(1):\n    t = nl.load(a)\n  nl.store(o, t)\n  return o",
        names,
    )
    assert names["k"](np.ones((1, 4), np.float32)).sum() == 4
