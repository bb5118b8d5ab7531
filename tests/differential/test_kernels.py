from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from nkifix.differential.adapters import NotExpressibleError
from nkifix.differential.cases import Case
from nkifix.differential.kernels import Answered, Crashed, loaded
from nkifix.emulator import Params
from nkifix.errors import RefusalError

CASE = Case(name="small", head_dim=4, seq_q=8, seq_k=8)
HEADER = """\
from dataclasses import dataclass

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import numpy as np


@dataclass(frozen=True)
class FlashConfig:
    seq_tile_size: int = 2048


"""


def kernel(body: str, *, header: str = HEADER) -> bytes:
    """A kernel file whose ``flash_fwd`` has this body."""
    indented = "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())
    return f"{header}@nki.jit\ndef flash_fwd(q, k, v, config=None, window_size=None):\n{indented}".encode()


ECHO = kernel("""
    out = nl.ndarray(q.shape, dtype=q.dtype, buffer=nl.shared_hbm)
    nl.store(out[0, 0], nl.load(q[0, 0]))
    return out
""")


# ---------------------------------------------------------------------------------------------- calling


def test_answers_with_what_the_kernel_returns() -> None:
    with loaded({"stock": ECHO}) as kernels:
        result = kernels["stock"].call(CASE)
    assert isinstance(result, Answered)
    np.testing.assert_array_equal(result.output, CASE.inputs()[0])


def test_passes_grid_and_keywords_with_the_kernels_own_config() -> None:
    source = kernel("""
        assert nl.program_ndim() == 2
        assert (nl.num_programs(0), nl.num_programs(1)) == (2, 3)
        assert isinstance(config, FlashConfig)
        raise LookupError(f"{window_size} {config.seq_tile_size}")
    """)
    case = Case(
        name="all",
        batch=2,
        heads=3,
        kv_heads=3,
        seq_q=8,
        seq_k=8,
        head_dim=4,
        window_size=(3, -1),
        config={"seq_tile_size": 9},
    )
    with loaded({"stock": source}) as kernels:
        crash = kernels["stock"].call(case)
    assert crash == Crashed("LookupError", "(3, -1) 9", source.decode().count("\n"))
    assert crash.in_words() == "LookupError: (3, -1) 9"


def test_crash_names_the_deepest_line_of_the_kernel_file() -> None:
    source = kernel("helper(q)") + b"\n\ndef helper(q):\n    np.zeros(3).reshape(2)\n"
    with loaded({"stock": source}) as kernels:
        crash = kernels["stock"].call(CASE)
    assert isinstance(crash, Crashed)
    assert crash.type_name == "ValueError"
    assert source.decode().splitlines()[(crash.line or 0) - 1] == "    np.zeros(3).reshape(2)"


def test_call_that_a_kernel_has_no_arguments_for_is_no_crash_of_it() -> None:
    with loaded({"stock": ECHO}) as kernels, pytest.raises(NotExpressibleError, match="no no_such_field"):
        kernels["stock"].call(Case(name="odd", seq_q=8, seq_k=8, config={"no_such_field": 1}))


def test_crash_has_no_line_where_the_kernel_file_was_not_reached() -> None:
    with loaded({"stock": ECHO}) as kernels:
        crash = kernels["stock"].call(Case(name="odd", seq_q=8, seq_k=8), grid=(0, 1))
    assert isinstance(crash, Crashed)
    assert "grid" in crash.message
    assert crash.line is None


def test_fault_of_the_emulator_is_a_crash_and_names_no_folder() -> None:
    source = kernel("""
        out = nl.ndarray(q.shape, dtype=q.dtype, buffer=nl.shared_hbm)
        return out
    """)
    with loaded({"stock": source}) as kernels:
        folder = str(kernels["stock"].file.parent)
        crash = kernels["stock"].call(CASE)
    assert isinstance(crash, Crashed)
    assert crash.message.startswith("[err_tensor_output_not_written_to]")
    assert "of stock.py:" in crash.message
    assert folder not in crash.message


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        pytest.param("None", "flash_fwd returned NoneType, not one array", id="nothing"),
        pytest.param("q, k", "flash_fwd returned tuple, not one array", id="two arrays"),
    ],
)
def test_answer_that_is_not_one_array_is_a_crash(returned: str, words: str) -> None:
    plain = f"""
class flash_fwd:
    def __class_getitem__(cls, grid):
        return lambda q, k, v: ({returned})
"""
    with loaded({"stock": HEADER.encode() + plain.encode()}) as kernels:
        assert kernels["stock"].call(CASE) == Crashed("TypeError", words, None)


@pytest.mark.parametrize("target", ["trn1", "trn2"])
def test_kernel_runs_on_the_target_asked_for(target: str) -> None:
    source = kernel("raise LookupError(nisa.get_nc_version() == nisa.nc_version.gen3)")
    with loaded({"stock": source}, Params(target=target)) as kernels:  # type: ignore[arg-type]
        crash = kernels["stock"].call(CASE)
    assert isinstance(crash, Crashed)
    assert crash.message == str(target == "trn2")


def test_files_are_modules_of_their_own() -> None:
    other = ECHO.replace(b"2048", b"512")
    with loaded({"stock": ECHO, "fixed": other}) as kernels:
        assert kernels["stock"].module.FlashConfig().seq_tile_size == 2048
        assert kernels["fixed"].module.FlashConfig().seq_tile_size == 512
        assert kernels["fixed"].file.read_bytes() == other


# ---------------------------------------------------------------------------------------------- warnings

READS_PSUM = kernel("""
    out = nl.ndarray(q.shape, dtype=q.dtype, buffer=nl.shared_hbm)
    row, column = nl.mgrid[0:4, 0:8]
    held = nl.ndarray((nl.par_dim(4), 8), dtype=np.float32, buffer=nl.psum)
    held[:, :] = nl.copy(nl.load(q[0, 0]), dtype=np.float32)
    kept = nisa.affine_select(row >= column, held, 0.0, dtype=np.float32)
    nl.store(out[0, 0], kept)
    return out
""")


def test_emulators_warnings_are_kept_once_each_and_not_shown() -> None:
    with loaded({"stock": READS_PSUM}) as kernels, warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert isinstance(kernels["stock"].call(CASE), Answered)
        [warning] = kernels["stock"].warned
    line = next(n for n, text in enumerate(READS_PSUM.splitlines(), 1) if b"affine_select" in text)
    assert warning.startswith(f"line {line}: affine_select reads PSUM")


def test_other_warnings_are_shown() -> None:
    source = kernel("import warnings\nwarnings.warn('mine')\nraise LookupError")
    with loaded({"stock": source}) as kernels:
        with pytest.warns(UserWarning, match="mine"):
            kernels["stock"].call(CASE)
        assert not kernels["stock"].warned


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param(HEADER.encode(), "AttributeError: .*flash_fwd", id="no flash_fwd"),
        pytest.param(b"flash_fwd = 1\n", "AttributeError: .*FlashConfig", id="no FlashConfig"),
        pytest.param(
            b"flash_fwd = 1\nclass FlashConfig: pass\n",
            "TypeError: FlashConfig is no dataclass",
            id="FlashConfig that is no dataclass",
        ),
        pytest.param(b"", "AttributeError", id="empty"),
        pytest.param(b"import no_such_module\n", "ModuleNotFoundError: .*no_such_module", id="unknown import"),
        pytest.param(b"from neuronxcc.nki.language import no_such_name\n", "ImportError: .*no_such_name", id="name"),
        pytest.param(b"import neuronxcc.no_such_part\n", "ModuleNotFoundError: .*no_such_part", id="part"),
        pytest.param(b"1 / 0\n", "ZeroDivisionError", id="raises"),
        pytest.param(b"def f(:\n", r"SyntaxError: .*\(odd\.py, line 1\)", id="does not parse"),
        pytest.param(b"\x00\x01", "SyntaxError|ValueError", id="binary"),
        pytest.param(b"raise SystemExit(0)\n", "SystemExit: 0", id="exits"),
    ],
)
def test_refuses_file_that_cannot_be_imported(source: bytes, words: str) -> None:
    before = dict(sys.modules), list(sys.meta_path)
    with (
        pytest.raises(RefusalError, match=f"the odd kernel cannot be imported: ({words})") as refusal,
        loaded({"good": ECHO, "odd": source}),
    ):
        pass
    assert refusal.value.__cause__ is not None
    assert refusal.value.why
    assert refusal.value.next_step
    assert f"{os.sep}nkifix-" not in str(refusal.value)
    assert new_modules(before[0]) == set()
    assert sys.meta_path == before[1]


# ---------------------------------------------------------------------------------------------- afterwards


def new_modules(before: Mapping[str, object]) -> set[str]:
    """Kernel modules and stand-ins that are left; a library that was imported on the way may stay."""
    return {name for name in sys.modules.keys() - before.keys() if name.startswith(("nkifix_kernel", "neuronxcc"))}


def test_nothing_is_left_afterwards() -> None:
    before, finders = dict(sys.modules), list(sys.meta_path)
    with loaded({"stock": ECHO, "fixed": ECHO}) as kernels:
        assert new_modules(before) >= {"nkifix_kernel_stock", "nkifix_kernel_fixed", "neuronxcc"}
        files = [kernel.file for kernel in kernels.values()]
        assert all(file.exists() for file in files)
    assert new_modules(before) == set()
    assert sys.meta_path == finders
    assert not any(file.parent.exists() for file in files)


def test_nothing_is_left_after_an_error() -> None:
    before = dict(sys.modules)
    files: list[Path] = []
    with pytest.raises(FileExistsError), loaded({"stock": ECHO}) as kernels:
        (files := [kernels["stock"].file])[0].touch(exist_ok=False)
    assert new_modules(before) == set()
    assert not files[0].exists()
