from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nkifix import codemod, specimens
from nkifix.cli import console, main
from nkifix.cli.demo import DEFECT, UPSTREAM_PATH
from nkifix.differential import demonstration
from nkifix.differential.cases import Case
from nkifix.differential.demonstration import CRASHING, WORKING
from tests.upstream_clone import TAGS

SPECIMEN = specimens.path(DEFECT).read_bytes()
ROOT = Path(__file__).parents[2]
OTHER = ROOT / "tests" / "specimens" / "no_kernel.py"
QUICK = (CRASHING[2], WORKING[2])
VERDICT = f"""\
HOLDS:
  {len(CRASHING)} calls crash before the fix and are right after it
  {len(WORKING)} calls that were right give identical bytes after it
  2 lines changed: """


@dataclass(frozen=True)
class Ran:
    """One run of ``nkifix demo``."""

    code: int
    out: str
    err: str


class Demo:
    """Runs ``nkifix demo`` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        with pytest.raises(SystemExit) as exit_:
            main(["demo", *map(str, arguments)], prog_name="nkifix")
        captured = self.capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Ran(exit_.value.code, captured.out, captured.err)


@pytest.fixture
def demo(capsys: pytest.CaptureFixture[str]) -> Demo:
    return Demo(capsys)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All cases on the specimen, as a program in another directory, into a pipe of eighty columns."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80"}
    command = [sys.executable, "-m", "nkifix", "demo"]
    cwd = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
    assert list(cwd.iterdir()) == []
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cases instead of all."""
    monkeypatch.setattr(demonstration.demonstrate, "__kwdefaults__", {"cases": QUICK})


def written(path: Path, *replacements: tuple[bytes, bytes]) -> Path:
    """The specimen at ``path``, changed."""
    data = SPECIMEN
    for old, new in replacements:
        assert data.count(old) == 1, old
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------------------------------------- it holds


def test_specimen_shows_crash_fix_and_proof(whole: Ran) -> None:
    assert whole.code == console.EXIT_HOLDS
    assert whole.err == ""
    lines = whole.out.splitlines()
    assert lines[0] == "Kernel: our own specimen, not NxDI's file"
    assert lines[1] == f"  {specimens.path(DEFECT)}"
    assert lines[2] == "Where it ran: nkifix's emulator of NKI on this CPU, never a NeuronCore."
    # verdict first and last
    first, last = "\n".join(lines[3:7]), "\n".join(lines[-4:])
    assert first == last
    assert first.startswith(VERDICT)
    # the crash, in the interpreter's own words, at the line that reads the name
    [crash] = [line for line in lines if "UnboundLocalError: " in line]
    place, _, words = crash.partition(": UnboundLocalError: ")
    name, _, line = place.rpartition(":")
    assert name == "misspelled_causal_mask.py"
    assert b"& causal_mask" in SPECIMEN.splitlines()[int(line) - 1]
    assert words in unbound_local_words()
    # the fix
    assert [line for line in lines if line[:1] in "+-" and line[1:2] == " "] == [
        "-        pred_causal = query + ahead >= key  # casual mask",
        "+        pred_causal = query + ahead >= key  # causal mask",
        "-                    casual_mask = True  # noqa: F841",
        "+                    causal_mask = True",
    ]
    # the proof
    table = lines[lines.index("Case by case") + 1 :]
    assert table[0].split() == ["case", "stock", "fixed", "bytes", "error", "budget", "claim"]
    for case, row in zip((*CRASHING, *WORKING), table[1:], strict=False):
        assert row.startswith(case.name)
        stock, fixed, same, error, budget, claim = row.removeprefix(case.name).split()
        assert (stock, same) == (("crashes", "-") if case in CRASHING else ("right", "identical"))
        assert (fixed, claim) == ("right", "holds")
        assert 0 < float(error) < 0.1
        assert 0 < int(budget.rstrip("%")) < 100


def unbound_local_words() -> tuple[str, ...]:
    """How this interpreter says it, in its version."""
    return (
        "cannot access local variable 'causal_mask' where it is not associated with a value",
        "local variable 'causal_mask' referenced before assignment",
    )


def test_prose_and_table_fit_eighty_columns(whole: Ran) -> None:
    lines = whole.out.splitlines()
    long = [line for line in lines if len(line.rstrip()) > 80]
    # what is quoted is not broken: a path, the interpreter's words, the file's own lines
    assert [line for line in long if not line.startswith(("  /", " ", "+", "-", "misspelled_causal_mask.py:"))] == []
    table = lines[lines.index("Case by case") + 1 :]
    assert all(len(line.rstrip()) <= 80 for line in table)


def test_given_file_is_named_as_such(demo: Demo, quick: None, tmp_path: Path) -> None:
    file = written(tmp_path / "attention.py")
    ran = demo("--upstream", file)
    assert ran.code == console.EXIT_HOLDS
    assert ran.out.startswith(f"Kernel: the file given\n  {file}\n")
    assert "specimen" not in ran.out
    assert "--- a/attention.py\n+++ b/attention.py\n" in ran.out
    assert file.read_bytes() == SPECIMEN


def test_checkout_is_searched_for_the_kernel(demo: Demo, quick: None, tmp_path: Path) -> None:
    file = tmp_path / UPSTREAM_PATH
    file.parent.mkdir(parents=True)
    ran = demo("--upstream", written(file).parents[4])
    assert ran.code == console.EXIT_HOLDS
    assert ran.out.startswith(f"Kernel: the file given\n  {file}\n")


def test_calls_are_shown_as_they_are_written(demo: Demo, quick: None) -> None:
    out = demo().out
    assert "  full, fewer queries: q (1, 1, 128, 512), k (1, 1, 128, 2048)\n" in out
    assert "    flash_fwd[1, 1](q, k, v, use_causal_mask=False)\n" in out


def test_no_crash_is_shown_where_there_is_none(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration.demonstrate, "__kwdefaults__", {"cases": QUICK[1:]})
    out = demo().out
    assert "The crash" not in out
    assert "UnboundLocalError" not in out


def test_case_left_out_is_named(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration.demonstrate, "__kwdefaults__", {"cases": (*QUICK, WORKING[-1])})
    file = written(
        tmp_path / "attention.py",
        (b"windowed_context_encoding: bool = False", b"unused: int = 0"),
        (b"window if config.windowed_context_encoding else 0", b"0"),
    )
    ran = demo("--upstream", file)
    assert ran.code == console.EXIT_HOLDS
    assert "\nLeft out: windowed context: this file's FlashConfig has no such field.\n" in ran.out
    assert "\n  1 calls crash before the fix" in ran.out
    assert "\n  1 calls that were right" in ran.out


def test_emulators_warning_is_told(demo: Demo, quick: None, tmp_path: Path) -> None:
    product = b"nl.matmul(q_tile, keys[:, place], transpose_x=True)"
    file = written(
        tmp_path / "attention.py",
        (b"nl.copy(" + product + b", dtype=np.float32)", product),
        (b"pred_causal, scores[:, place], HIDDEN", b"pred_causal, " + product + b", HIDDEN"),
    )
    ran = demo("--upstream", file)
    assert ran.err == ""
    line = next(n for n, text in enumerate(file.read_bytes().splitlines(), 1) if b"affine_select(pred_c" in text)
    assert f"\nThe emulator warns: line {line}: affine_select reads PSUM" in ran.out


def test_cores_are_left_to_others(demo: Demo, quick: None) -> None:
    # set when the command is imported, before numpy is
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        assert os.environ[variable]


# ------------------------------------------------------------------------------------------ it does not hold


@pytest.mark.parametrize(
    ("replacements", "words"),
    [
        pytest.param(
            [(b":], result)", b":], nl.multiply(result, 0.0))")],
            [
                "DOES NOT HOLD in 2 of 2 cases:",
                "  full, fewer queries: the fixed kernel's answer is one constant",
                "  causal, tiles of 512: the stock kernel was to be right here, but it is wrong by up to ",
            ],
            id="zeros",
        ),
        pytest.param(
            [(b"d**-0.5 if", b"d**-0.4 if")],
            [
                "DOES NOT HOLD in 2 of 2 cases:",
                "  full, fewer queries: the fixed kernel's answer is wrong by up to ",
                "  causal, tiles of 512: the stock kernel was to be right here, but it is wrong by up to ",
            ],
            id="wrong scale",
        ),
        pytest.param(
            [(b"first, last = ", b"raise ValueError('odd')  # ")],
            [
                "DOES NOT HOLD in 2 of 2 cases:",
                "  full, fewer queries: the stock kernel was to raise UnboundLocalError for 'causal_mask', but it ",
                "  causal, tiles of 512: the stock kernel was to be right here, but it crashed",
            ],
            id="another crash",
        ),
        pytest.param(
            [(b"out = nl.ndarray((n_batch", b"out = nl.ndarray((n_batch + 1")],
            [
                "DOES NOT HOLD in 2 of 2 cases:",
                "  full, fewer queries: the fixed kernel raised KernelFault: [err_tensor_output_not_written_to]",
                "    where: tensor 'out' of fixed.py:",
            ],
            id="output not written",
        ),
    ],
)
def test_claim_that_fails_is_told_first_and_last(
    demo: Demo, quick: None, tmp_path: Path, replacements: list[tuple[bytes, bytes]], words: list[str]
) -> None:
    ran = demo("--upstream", written(tmp_path / "attention.py", *replacements))
    assert ran.code == console.EXIT_DIFFERS
    lines = ran.out.splitlines()
    assert lines[3] == words[0]
    assert "HOLDS:" not in lines
    again = lines.index(words[0], 4)
    last = lines[again:]
    assert last == lines[3 : 3 + len(last)]
    for text in words:
        assert any(line.startswith(text) for line in last), text
    assert "FAILS" in ran.out


def row_of(case: Case, out: str) -> list[str]:
    """Cells of the only row of this case in the table, which fails."""
    table = out[out.index("\nCase by case") :].splitlines()
    [row] = [line for line in table if line.startswith(case.name) and line.rstrip().endswith("FAILS")]
    return row.removeprefix(case.name).split()


@pytest.mark.parametrize(
    ("replacement", "cells"),
    [
        pytest.param((b":], result)", b":], nl.multiply(result, 0.0))"), ["constant", "constant", "identical"], id="0"),
        pytest.param((b"d**-0.5 if", b"d**-0.4 if"), ["wrong", "wrong", "identical"], id="wrong"),
        pytest.param((b":], result)", b":], no_such_name)"), ["crashes", "crashes", "-", "-", "-"], id="crashes"),
    ],
)
def test_table_tells_outcomes_apart(
    demo: Demo, quick: None, tmp_path: Path, replacement: tuple[bytes, bytes], cells: list[str]
) -> None:
    out = demo("--upstream", written(tmp_path / "attention.py", replacement)).out
    assert row_of(WORKING[2], out)[: len(cells)] == cells


def test_fix_that_changes_answers_is_told(demo: Demo, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def apply_and_more(data: bytes, fixes: object) -> codemod.Outcome:
        outcome = codemod.apply(data, codemod.select(only=(DEFECT,)))
        assert isinstance(outcome, codemod.Fixed)
        more = outcome.data.replace(b"nl.reciprocal(total)", b"nl.reciprocal(total, dtype=nl.bfloat16)")
        return codemod.Fixed(data=more, lines=outcome.lines, fixes=outcome.fixes)

    monkeypatch.setattr(sys.modules["nkifix.cli.demo"], "apply", apply_and_more)
    ran = demo()
    assert ran.code == console.EXIT_DIFFERS
    assert "  causal, tiles of 512: stock and fixed answers differ by up to " in ran.out
    assert row_of(WORKING[2], ran.out)[:3] == ["right", "right", "differ"]


def test_already_fixed_file_has_no_crash_to_show(demo: Demo, tmp_path: Path) -> None:
    file = written(
        tmp_path / "attention.py",
        (b"casual_mask = True  # noqa: F841", b"causal_mask = True"),
        (b"# casual mask", b"# causal mask"),
    )
    ran = demo("--upstream", file)
    assert ran.code == console.EXIT_DIFFERS
    assert ran.out == ""
    assert ran.err == f"{file}: this kernel is already fixed; there is no crash to show.\n"


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "the kernel file cannot be read: No such file or directory", id="missing"),
        pytest.param(b"", f"the defect {DEFECT} was not recognised: ", id="empty"),
        pytest.param(b"\x7fELF\x00\xff\xfe\x00", f"the defect {DEFECT} was not recognised: ", id="binary"),
        pytest.param(b"def f(:\n", f"the defect {DEFECT} was not recognised: ", id="does not parse"),
        pytest.param(OTHER.read_bytes(), f"the defect {DEFECT} was not recognised: ", id="without the kernel"),
        pytest.param(
            b"import no_such_module\n" + SPECIMEN.replace(b'"""A small', b'"""A', 1),
            "the stock kernel cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
            id="needs what is not there",
        ),
    ],
)
def test_refuses_file_that_it_cannot_show(demo: Demo, tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "attention.py"
    if content is not None:
        file.write_bytes(content)
    ran = demo("--upstream", file)
    assert ran.code == console.EXIT_REFUSED
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines[0].startswith(f"ERROR {words}")
    assert lines[1].startswith(f"  where: {file}")
    assert lines[-1].startswith("  next: give ")
    assert (file.read_bytes() if file.exists() else None) == content


def test_refuses_directory_without_the_kernel(demo: Demo, tmp_path: Path) -> None:
    ran = demo("--upstream", tmp_path)
    assert ran.code == console.EXIT_REFUSED
    assert ran.err.splitlines()[:2] == [
        "ERROR the kernel file cannot be read: No such file or directory",
        f"  where: {tmp_path / UPSTREAM_PATH}",
    ]


def test_refuses_line_that_is_not_the_fault_it_knows(demo: Demo, tmp_path: Path) -> None:
    file = written(
        tmp_path / "attention.py", (b"casual_mask = True  # noqa: F841", b"casual_mask = False  # noqa: F841")
    )
    ran = demo("--upstream", file)
    assert ran.code == console.EXIT_REFUSED
    assert f"  where: {file}" in ran.err


# -------------------------------------------------------------------------------------------- the real file


@pytest.mark.upstream
def test_real_file_holds(demo: Demo, upstream_file: tuple[str, bytes], tmp_path: Path) -> None:
    tag, data = upstream_file
    file = tmp_path / "attention.py"
    file.write_bytes(data)
    ran = demo("--upstream", file)
    assert ran.code == console.EXIT_HOLDS, ran.out
    assert ran.err == ""
    older = tag == TAGS[0]
    assert f"  {len(CRASHING)} calls crash before the fix and are right after it\n" in ran.out
    assert f"  {len(WORKING) - older} calls that were right give identical bytes after it\n" in ran.out
    assert ("Left out: windowed context" in ran.out) == older
    assert f"\nattention.py:{423 if older else 439}: UnboundLocalError: " in ran.out
    assert file.read_bytes() == data
