from __future__ import annotations

import pytest

from nkifix import codemod
from tests.codemod.fixing import check_fixed, check_refused, specimen, swapped, tabbed

ID = "mask-constant"
PLAIN = specimen(ID)
CORE = b'# what one tile adds\n@nki.jit(mode="trace")\ndef _flash'
HELPER = b'''\
def smallest_finite(dtype):
    """Value for what is masked: no score lies below it, and unlike -inf it may be subtracted from itself."""
    if dtype == nl.float32:
        return nl.fp32.min
    return -65504.0 if dtype == nl.float16 else -3.3895313892515355e38


'''
FILL = (b"NEG_INFINITY = -9984.0  # stands for -inf: -9984.0", b"NEG_INFINITY = smallest_finite(acc_type)")
SUM = (b"fill_value=-9984.0, dtype", b"fill_value=smallest_finite(acc_type), dtype")
PEAK = (b"fill_value=-9984.0,\n", b"fill_value=smallest_finite(acc_type),\n")


def test_fixes_the_three_constants_and_adds_the_helper() -> None:
    check_fixed(ID, PLAIN, (CORE, HELPER + CORE), FILL, SUM, PEAK)


def test_adds_the_helper_at_the_start_of_a_file() -> None:
    start = PLAIN.index(b"# what")
    before = PLAIN[start:].replace(b"# what one tile adds\n", b"")
    check_fixed(ID, before, (b'@nki.jit(mode="trace")\n', HELPER + b'@nki.jit(mode="trace")\n'), FILL, SUM, PEAK)


def test_takes_over_tabs_and_line_endings() -> None:
    changes = [(tabbed(old), tabbed(new)) for old, new in ((CORE, HELPER + CORE), FILL, SUM, PEAK)]
    check_fixed(ID, tabbed(PLAIN), *changes)


@pytest.mark.parametrize("number", [b"-9984", b"-9_984.0", b"(-9.984e3)", b"- 9984."])
def test_fixes_the_constant_in_other_spellings(number: bytes) -> None:
    before = swapped(PLAIN, (FILL[0], b"NEG_INFINITY = " + number))
    new = b"(smallest_finite(acc_type))" if number.startswith(b"(") else b"smallest_finite(acc_type)"
    check_fixed(ID, before, (CORE, HELPER + CORE), (b"NEG_INFINITY = " + number, b"NEG_INFINITY = " + new), SUM, PEAK)


def test_keeps_comment_that_does_not_name_the_number() -> None:
    before = swapped(PLAIN, (b"  # stands for -inf: -9984.0", b"  # hidden"))
    check_fixed(
        ID, before, (CORE, HELPER + CORE), (b"-9984.0  # hidden", b"smallest_finite(acc_type)  # hidden"), SUM, PEAK
    )


def test_fixes_what_is_left_of_the_constants() -> None:
    check_fixed(ID, swapped(PLAIN, (CORE, HELPER + CORE), FILL, PEAK), SUM)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param(FILL[0], b"NEG_INFINITY = -1e30", "expected -9984.0 or smallest_finite(acc_type)", id="mask"),
        pytest.param(FILL[0], b"NEG_INFINITY = 9984.0", "expected -9984.0 or smallest_finite(acc_type)", id="sign"),
        pytest.param(FILL[0], b"NEG_INFINITY = -acc_type", "expected -9984.0", id="name"),
        pytest.param(FILL[0], b"NEG_INFINITY = ~9984", "expected -9984.0", id="operator"),
        pytest.param(
            b"l_buffer = nl.full((nl.par_dim(128), 1), fill_value=-9984.0,",
            b"l_buffer = nl.zeros((128, 1),",
            "expected a call nl.full(…, fill_value=…)",
            id="start",
        ),
        pytest.param(
            b"l_buffer = nl.full((nl.par_dim(128), 1), fill_value=-9984.0,",
            b"l_buffer = nl.full((128, 1), -9984.0,",
            "expected a call nl.full(…, fill_value=…)",
            id="positional",
        ),
    ],
)
def test_refuses_other_values(old: bytes, new: bytes, reason: str) -> None:
    check_refused(ID, swapped(PLAIN, (old, new)), reason, at=new)


def test_refuses_file_without_the_core() -> None:
    before = swapped(PLAIN, (b"def _flash_attention_core", b"def core"))
    outcome = codemod.apply(before, codemod.select(only=[ID]))
    assert isinstance(outcome, codemod.NotRecognised)
    assert outcome.reason == "expected a function _flash_attention_core, found none: this is not the kernel file"


def test_refuses_core_inside_another_function() -> None:
    start, end = PLAIN.index(b"@nki.jit(mode"), PLAIN.index(b"@nki.jit\n")
    inner = PLAIN[start:end].rstrip().replace(b"\n", b"\n    ")
    before = PLAIN[:start] + b"def outer():\n    " + inner + b"\n\n" + PLAIN[end:]
    check_refused(ID, before, "expected _flash_attention_core at the left margin", at=b"def _flash_attention_core")
