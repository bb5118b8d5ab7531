"""Scopes that only a kernel's source shows: tensors, outputs, numbers and conditions."""

from __future__ import annotations

import textwrap

import pytest

from nkifix.emulator.static import Finding, check_source

HEADER = """\
import numpy as np
import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
from neuronxcc.nki.language import par_dim, affine_range

@nki.jit
def kernel(a, b, flag=None):
    out = nl.ndarray((128, 512), np.float32, buffer=nl.shared_hbm)
"""
FIRST = HEADER.count("\n") + 1
"""Line of a body's first statement."""


def findings(body: str) -> list[Finding]:
    """What is found in a kernel with this body."""
    return check_source(
        HEADER + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n    return out\n", "k.py"
    )


def rules(body: str) -> list[tuple[str, int]]:
    """Rule, and line within the body (from 1), of each finding."""
    return [(one.rule.removeprefix("err_"), one.line - FIRST + 1) for one in findings(body)]


OUT_OF_SCOPE = {
    "bound in a loop": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
        nl.store(out, t)
        """,
    "bound in both branches on a loop index": """
        for i in nl.affine_range(4):
            if i < 2:
                t = nl.load(a[i])
            else:
                t = nl.load(b[i])
            nl.store(out[i], t)
        """,
    "bound in a branch on a program id": """
        if nl.program_id(0) == 0:
            t = nl.load(a)
        nl.store(out, t)
        """,
    "bound in a branch on an expression of the index": """
        for i in nl.affine_range(4):
            last = i == 3
            if last and flag is not None:
                t = nl.load(a)
            nl.store(out, t)
        """,
    "a plain range is a device loop": """
        for i in range(4):
            t = nl.load(a[i])
        nl.store(out, t)
        """,
    "rebound in a loop": """
        t = nl.zeros((128, 512), np.float32)
        for i in nl.sequential_range(4):
            t = t + nl.load(a[i])
        nl.store(out, t)
        """,
    "a view of it": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
            row = t[0:1, :]
        nl.store(out, row)
        """,
    "a loop under another name": """
        loop = nl.sequential_range if flag else nl.affine_range
        for i in loop(4):
            t = nl.load(a[i])
        nl.store(out, t)
        """,
    "a name imported by itself": """
        for i in affine_range(4):
            t = nl.exp(nl.load(a[i]))
        nl.store(out, t)
        """,
    "several at once": """
        for k, i in enumerate(nl.affine_range(4)):
            s, t = nl.load(a[i]), nl.load(b[i])
        nl.store(out, t)
        """,
    "under two names, through a method": """
        for i in nl.affine_range(4):
            t = (row := nl.load(a[i]))
            row = t.broadcast_to((128, 512))
        nl.store(out, row)
        """,
    "in a with statement without a name": """
        for i in nl.affine_range(4):
            with flag:
                t = nl.load(a[i])
        nl.store(out, t)
        """,
    "read by +=": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
        t += 1
        """,
    "used as a destination": """
        for i in nl.affine_range(4):
            t = nl.ndarray((128, 512), np.float32)
        t[0:1, :] = 0
        """,
    "inside a nested function": """
        def helper():
            for i in nl.affine_range(4):
                t = nl.load(a[i])
            nl.store(out, t)
        helper()
        """,
    "after a branch that may end": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
        if flag:
            raise ValueError
        nl.store(out, t)
        """,
    "inside a with statement and a try": """
        for i in nl.affine_range(4):
            with flag as f:
                try:
                    t = nl.load(a[i])
                finally:
                    pass
        nl.store(out, t)
        """,
}

IN_SCOPE = {
    "declared before, filled inside": """
        t = nl.ndarray((128, 512), np.float32)
        for i in nl.affine_range(4):
            t[...] = nl.load(a[i])
        nl.store(out, t)
        """,
    "used inside": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
            nl.store(out[i], t)
        """,
    "updated in place": """
        t = nl.zeros((128, 512), np.float32)
        for i in nl.sequential_range(4):
            t += nl.load(a[i])
        nl.store(out, t)
        """,
    "a compile-time condition": """
        if flag is not None:
            t = nl.load(a)
        else:
            t = nl.load(b)
        nl.store(out, t)
        """,
    "a compile-time condition that ends": """
        if flag:
            t = nl.load(a)
        else:
            raise ValueError
        nl.store(out, t)
        """,
    "an unrolled loop": """
        for i in nl.static_range(4):
            t = nl.load(a[i])
        nl.store(out, t)
        """,
    "a loop over Python's own": """
        for part in (a, b):
            t = nl.load(part)
        nl.store(out, t)
        """,
    "no tensor": """
        for i in nl.affine_range(4):
            start = i * 128
            sizes = [128, 512]
            name = t = None
        print(start, sizes, name, t)
        """,
    "bound again after the loop": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
        t = nl.load(b)
        nl.store(out, t)
        """,
    "its shape is no tensor": """
        for i in nl.affine_range(4):
            size = nl.load(a[i]).shape[0]
        t = nl.zeros((size, 4), np.float32)
        """,
    "a comprehension's own variable": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
        [t for t in (1, 2)]
        (lambda t: t)(1)
        """,
    "captured by a nested function": """
        for i in nl.affine_range(4):
            t = nl.load(a[i])
            def put():
                nl.store(out[i], t)
            put()
        """,
    "may be bound outside, too": """
        if flag:
            t = nl.load(a)
        while flag:
            t = nl.load(a)
        nl.store(out, t)
        """,
    "a range of the user's own": """
        range = flag
        for i in range(4):
            t = nl.load(a[i])
        nl.store(out, t)
        """,
    "a nested class and an annotation alone": """
        class Options:
            t = 1
        t: int
        for i in nl.affine_range(4):
            first, *rest = flag
        """,
}


@pytest.mark.parametrize("body", OUT_OF_SCOPE.values(), ids=OUT_OF_SCOPE)
def test_refuses_tensor_out_of_scope(body: str) -> None:
    (finding,) = findings(body)
    assert finding.rule == "err_local_variable_used_out_of_scope"
    assert finding.names[0] in ("t", "row")
    assert finding.names[0] in finding.next_step


@pytest.mark.parametrize("body", IN_SCOPE.values(), ids=IN_SCOPE)
def test_accepts_tensor_in_scope(body: str) -> None:
    assert findings(body) == []


def test_finding_names_the_use_the_binding_and_the_scope() -> None:
    (finding,) = findings(OUT_OF_SCOPE["bound in a loop"])
    assert (finding.file, finding.line, finding.names) == ("k.py", FIRST + 2, ("t",))
    assert f"line {FIRST + 1} binds it inside 'for i in nl.affine_range(4)' of line {FIRST}" in finding.why
    fault = finding.fault()
    assert (fault.code, fault.where) == (finding.rule, f"k.py:{FIRST + 2}")
    assert (fault.why, fault.next_step) == (finding.why, finding.next_step)


# ------------------------------------------------------------------------------------------------- outputs


@pytest.mark.parametrize(
    ("body", "found"),
    [
        pytest.param("for i in range(2):\n  t = nl.ndarray((4, 4), np.float32, buffer=nl.shared_hbm)", True, id="loop"),
        pytest.param(
            "if nl.program_id(0) >= 1:\n  t = nl.ndarray((4, 4), np.float32, buffer=nl.shared_hbm)", True, id="program"
        ),
        pytest.param("if flag:\n  t = nl.ndarray((4, 4), np.float32, buffer=nl.shared_hbm)", False, id="argument"),
        pytest.param(
            "for i in nl.static_range(2):\n  t = nl.ndarray((4, 4), np.float32, buffer=nl.shared_hbm)",
            False,
            id="unrolled",
        ),
        pytest.param("for i in range(2):\n  t = nl.ndarray((4, 4), np.float32, buffer=nl.sbuf)", False, id="on chip"),
    ],
)
def test_shared_output_belongs_to_the_kernel(body: str, found: bool) -> None:
    expected = [("shared_hbm_must_in_kernel_level", 2)] if found else []
    assert rules(body) == expected


# -------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("body", "line"),
    [
        pytest.param("n = 0\nfor i in nl.affine_range(4):\n  nl.store(out[n], a)\n  n += 1", 4, id="as an index"),
        pytest.param("n = 0\nfor i in range(4):\n  n = n + 128\n  nl.store(out, nl.load(a[nl.ds(n, 8)]))", 3, id="ds"),
        pytest.param("n = 2 * 4\nfor i in range(4):\n  if flag:\n    n -= 1\n  t = nl.exp(a, n)", 4, id="in a branch"),
    ],
)
def test_refuses_number_counted_by_a_device_loop(body: str, line: int) -> None:
    assert rules(body) == [("loop-carried-python-value", line)]
    assert findings(body)[0].names == ("n",)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("n = 0\nfor i in nl.static_range(4):\n  nl.store(out[n], a)\n  n += 1", id="unrolled"),
        pytest.param("for i in range(4):\n  n = 0\n  n += 1\n  nl.store(out[n], a)", id="begun anew"),
        pytest.param("n = 0\nfor i in range(4):\n  n += 1\n  print(n)\nprint(n)", id="not used by the device"),
        pytest.param(
            "n = 0\nfor i in range(4):\n  t = nl.ndarray((4, 4), np.float32, buffer=f(n))\n  n += 64", id="address"
        ),
        pytest.param("n = []\nfor i in range(4):\n  n += [i]\n  nl.store(out[n], a)", id="a list"),
        pytest.param("for i in range(4):\n  n = i * 128\n  nl.store(out[n], a)", id="made of the index"),
        pytest.param(
            "n = 0\nfor i in range(4):\n  def f():\n    n = 1\n    n += 1\n  nl.load(a[n])", id="nested function"
        ),
    ],
)
def test_accepts_number_in_a_loop(body: str) -> None:
    assert rules(body) == []


# ---------------------------------------------------------------------------------------------------- while


@pytest.mark.parametrize(
    ("body", "found"),
    [
        pytest.param("t = nl.load(a)\nwhile t < 10:\n  t = t + 1", True, id="a tensor"),
        pytest.param("t = nl.load(a)\ns = scalar(t)\nwhile s < 10:\n  s = scalar(t)", True, id="its value"),
        pytest.param("t = nl.load(a)\nc = True\nwhile c:\n  c = scalar(t) < 10", False, id="do-while"),
        pytest.param("while flag:\n  nl.store(out, nl.load(a))\nelse:\n  pass", False, id="an argument"),
    ],
)
def test_while_is_entered_unconditionally(body: str, found: bool) -> None:
    codes = [rule for rule, _ in rules(body)]
    assert codes == (["while_loop_requires_unconditional_entry"] if found else [])


# ---------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("loop", "mask"),
    [
        pytest.param("range(8)", "(i % 4) < 2", id="remainder"),
        pytest.param("nl.affine_range(8)", "i // 4 == 0", id="quotient"),
        pytest.param("range(8)", "(i * nl.program_id(0)) < 2", id="product"),
        pytest.param("range(8)", "(i < 4) & (2 ** i < 2)", id="power, joined"),
        pytest.param("range(8)", "odd", id="under a name"),
    ],
)
def test_refuses_mask_that_is_not_affine(loop: str, mask: str) -> None:
    assert rules(f"for i in {loop}:\n  odd = i % 2 == 1\n  nl.store(out, 0, mask={mask})") == [
        ("unsupported_expression_in_mask", 3)
    ]


@pytest.mark.parametrize(
    ("loop", "call"),
    [
        pytest.param(
            "range(8)", "nl.store(out, 0, mask=(2 * i + 3 * nl.program_id(0) + 1 < 20) & (i > 2))", id="affine"
        ),
        pytest.param("nl.static_range(8)", "nl.store(out, 0, mask=(i % 4) < 2)", id="unrolled"),
        pytest.param("range(8)", "nl.store(out, 0, mask=i * (n // 4) < 8 % n)", id="of constants"),
        pytest.param("range(8)", "nl.store(out[i % 2], 0)", id="an index"),
        pytest.param("range(8)", "flag(mask=(i % 4) < 2)", id="another function"),
    ],
)
def test_accepts_affine_mask(loop: str, call: str) -> None:
    assert rules(f"n = flag\nfor i in {loop}:\n  {call}") == []
