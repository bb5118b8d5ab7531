"""Where the kernel runs; with programs of their own where the imports of a whole process matter."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from vendored_kernel import backend

ROOT = Path(__file__).resolve().parents[2]

COMPILERS = {
    "2.19.8089.0": "quiet",
    "2.20.9961.0": "quiet",
    "2.21.18209.0": "quiet",
    "2.21.33363.0": "quiet",
    "2.22.12471.0": "quiet",
    "2.23.6484.0": "quiet",
    "2.24.5133.0": "warns",
    "2.24.8799.0+abc": "warns",
    "2.25.3371.0": "refused",
    "2.26.6360.0": "refused",
    "2.27.5334.0": "refused",
    "3.0.1": "refused",
    "1.99.0": "quiet",
    "unknown": "quiet",
}
"""Every neuronx-cc that runs legacy kernels, or no longer does, and what is to be said of it."""


@pytest.fixture
def loads_anew() -> Iterator[None]:
    """The kernel's module is looked for again, before the test and after it."""
    backend.kernel_module.cache_clear()
    yield
    backend.kernel_module.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, *, wish: str | None, version: str | None = None) -> None:
    """A host with the variable set and, if a version is given, with that compiler."""
    if wish is None:
        monkeypatch.delenv(backend.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(backend.VARIABLE, wish)
    real_find = importlib.util.find_spec
    found = real_find("json") if version else None
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: found if name == "neuronxcc" else real_find(name, *rest)
    )
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)


@pytest.mark.parametrize(
    ("wish", "installed", "backend_name"),
    [
        pytest.param(None, False, "emulator", id="nothing said, no compiler"),
        pytest.param(None, True, "neuron", id="nothing said, compiler"),
        pytest.param("", False, "emulator", id="empty, no compiler"),
        pytest.param("", True, "neuron", id="empty, compiler"),
        pytest.param("auto", False, "emulator", id="auto, no compiler"),
        pytest.param("auto", True, "neuron", id="auto, compiler"),
        pytest.param("neuron", True, "neuron", id="neuron, compiler"),
        pytest.param("emulator", False, "emulator", id="emulator, no compiler"),
        pytest.param("emulator", True, "emulator", id="emulator, compiler"),
    ],
)
def test_backend_is_the_wish_or_what_is_installed(
    wish: str | None, installed: bool, backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, wish=wish, version="2.23.0" if installed else None)
    assert backend.chosen() == backend_name


def test_refuses_a_backend_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, wish="gpu")
    with pytest.raises(ImportError) as refusal:
        backend.chosen()
    assert str(refusal.value) == "NKIFIX_BACKEND='gpu' is no backend: set it to auto, neuron or emulator"


def test_refuses_neuron_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, wish="neuron")
    with pytest.raises(ImportError) as refusal:
        backend.chosen()
    assert str(refusal.value) == (
        "NKIFIX_BACKEND=neuron, but neuronxcc is not installed here: install neuronx-cc 2.23 (SDK 2.28), or set "
        "NKIFIX_BACKEND=emulator"
    )


@pytest.mark.parametrize("version", [version for version, outcome in COMPILERS.items() if outcome == "quiet"])
def test_compiler_of_legacy_kernels_is_taken_in_silence(version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend.check_compiler(version)


@pytest.mark.parametrize("version", [version for version, outcome in COMPILERS.items() if outcome == "warns"])
def test_last_compiler_of_legacy_kernels_is_taken_with_a_warning(version: str) -> None:
    with pytest.warns(backend.LegacyKernelWarning) as caught:
        backend.check_compiler(version)
    (warning,) = caught
    assert str(warning.message) == (
        f"neuronx-cc {version} (SDK 2.29) is the last that compiles kernels in the legacy language "
        "(neuronxcc.nki); stay on SDK 2.28 or 2.29"
    )


@pytest.mark.parametrize("version", [version for version, outcome in COMPILERS.items() if outcome == "refused"])
def test_refuses_compiler_that_no_longer_takes_legacy_kernels(version: str) -> None:
    with pytest.raises(ImportError) as refusal:
        backend.check_compiler(version)
    assert str(refusal.value) == (
        f"neuronx-cc {version} is of SDK 2.30 or newer, where kernels in the legacy language (neuronxcc.nki) do not "
        "compile or return zeros. Use neuronx-cc 2.23 (SDK 2.28), or set NKIFIX_BACKEND=emulator to run on the CPU"
    )


def test_version_is_that_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def version(name: str) -> str:
        asked.append(name)
        return "2.23.6484.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert backend.compiler_version() == "2.23.6484.0"
    assert asked == ["neuronx-cc"]


def test_version_is_unknown_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert backend.compiler_version() is None


@pytest.mark.parametrize("wish", [None, "emulator"])
def test_emulator_gives_one_notice_that_says_why(
    wish: str | None, monkeypatch: pytest.MonkeyPatch, loads_anew: None
) -> None:
    pretend(monkeypatch, wish=wish)
    with pytest.warns(backend.EmulatedKernelWarning) as caught:
        modules = [backend.kernel_module() for _ in range(2)]
    assert modules[0] is modules[1]
    reason = "NKIFIX_BACKEND=emulator" if wish else "neuronxcc is not installed"
    assert [str(warning.message) for warning in caught] == [
        f"vendored_kernel runs on nkifix's CPU emulator of NKI, not on a NeuronCore ({reason})"
    ]


@pytest.mark.parametrize("version", ["2.23.6484.0", None])
def test_compiler_is_used_where_it_is_installed(
    version: str | None, monkeypatch: pytest.MonkeyPatch, loads_anew: None
) -> None:
    pretend(monkeypatch, wish="neuron", version="2.23.6484.0")
    monkeypatch.setattr(backend, "compiler_version", lambda: version)
    monkeypatch.setattr(backend, "_emulated", lambda: pytest.fail("the emulator was asked for"))
    monkeypatch.setattr(backend, "KERNEL", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backend.kernel_module().__name__ == "json"


def test_refuses_a_compiler_without_legacy_kernels(monkeypatch: pytest.MonkeyPatch, loads_anew: None) -> None:
    pretend(monkeypatch, wish="auto", version="2.25.3371.0")
    with pytest.raises(ImportError, match=r"^neuronx-cc 2\.25\.3371\.0 is of SDK 2\.30 or newer"):
        backend.kernel_module()


def test_refuses_without_compiler_and_emulator(monkeypatch: pytest.MonkeyPatch, loads_anew: None) -> None:
    pretend(monkeypatch, wish="auto")
    monkeypatch.setitem(sys.modules, "nkifix.emulator", None)
    with pytest.raises(ImportError) as refusal:
        backend.kernel_module()
    words = str(refusal.value)
    assert words.startswith("there is no neuronxcc here, and its emulator is missing too (")
    assert words.endswith("): pip install nkifix")
    assert isinstance(refusal.value.__cause__, ImportError)


# ------------------------------------------------------------------------------------------ in a process of its own

FAKE_COMPILER = {
    "neuronxcc/__init__.py": "",
    "neuronxcc/nki/__init__.py": "def jit(function=None, **options):\n    return function or jit\n",
    "neuronxcc/nki/isa.py": "",
    "neuronxcc/nki/language.py": "class fp32:\n    min = -3.0\n",
}
"""As much of a real package as the kernel's module touches when it is imported."""


@pytest.fixture
def compiler_host(tmp_path: Path) -> Path:
    """A folder with a fake neuronxcc; :func:`give_version` adds its metadata."""
    for name, text in FAKE_COMPILER.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


def give_version(host: Path, version: str) -> None:
    folder = host / f"neuronx_cc-{version}.dist-info"
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: neuronx-cc\nVersion: {version}\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")


def run(
    program: str, folder: Path, *path: Path, monkeypatch: pytest.MonkeyPatch, wish: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process whose path is ``path`` and this repository's root."""
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, (*path, ROOT))))
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    if wish:
        monkeypatch.setenv(backend.VARIABLE, wish)
    file = folder / "program.py"
    file.write_text(program, encoding="utf-8")
    return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, cwd=folder, check=False)


LOOKS_AT_IMPORTS = """
import sys
from vendored_kernel import FlashConfig, attention, flash_fwd
assert "vendored_kernel.kernel" in sys.modules
print(sorted(name for name in sys.modules if name.split(".")[0] in ("nkifix", "neuronxcc")))
"""


def test_nothing_of_nkifix_is_imported_beside_a_compiler(compiler_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_version(compiler_host, "2.23.6484.0")
    done = run(LOOKS_AT_IMPORTS, compiler_host, compiler_host, monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['neuronxcc', 'neuronxcc.nki', 'neuronxcc.nki.isa', 'neuronxcc.nki.language']"
    assert done.stderr == ""


def test_warns_where_the_user_imports_with_the_last_working_compiler(
    compiler_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_version(compiler_host, "2.24.5133.0")
    done = run(LOOKS_AT_IMPORTS, compiler_host, compiler_host, monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    assert f"{compiler_host / 'program.py'}:3: LegacyKernelWarning: neuronx-cc 2.24.5133.0" in done.stderr
    assert done.stderr.count("Warning") == 1


def test_refuses_import_beside_a_compiler_without_legacy_kernels(
    compiler_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_version(compiler_host, "2.27.5334.0")
    done = run(LOOKS_AT_IMPORTS, compiler_host, compiler_host, monkeypatch=monkeypatch)
    assert done.returncode == 1
    assert "ImportError: neuronx-cc 2.27.5334.0 is of SDK 2.30 or newer" in done.stderr


EMULATES = """
import sys
import numpy as np
import vendored_kernel
from vendored_kernel import FlashConfig, attention, flash_fwd
assert vendored_kernel.flash_fwd is flash_fwd
assert not [name for name in sys.modules if name.split(".")[0] == "neuronxcc"], "left behind"
ones = np.ones((1, 1, 16, 1), np.float32)
assert (flash_fwd[1, 1](ones, ones, ones.swapaxes(2, 3)) == 1).all()
assert not [name for name in sys.modules if name.split(".")[0] == "neuronxcc"], "left behind by the launch"
import vendored_kernel.kernel
assert vendored_kernel.kernel.flash_fwd is flash_fwd
"""


@pytest.mark.parametrize("beside_compiler", [False, True], ids=["no compiler", "beside a compiler"])
def test_emulator_leaves_no_compiler_behind(
    beside_compiler: bool, compiler_host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (compiler_host, ROOT / "src") if beside_compiler else (ROOT / "src",)
    program_folder = tmp_path / "elsewhere"
    program_folder.mkdir()
    wish = "emulator" if beside_compiler else None
    done = run(EMULATES, program_folder, *path, monkeypatch=monkeypatch, wish=wish)
    assert done.returncode == 0, done.stderr
    assert f"{program_folder / 'program.py'}:5: EmulatedKernelWarning: vendored_kernel runs on" in done.stderr
    assert done.stderr.count("Warning") == 1


def test_import_of_the_package_loads_neither_backend(compiler_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_version(compiler_host, "2.27.5334.0")
    program = """
import sys
import vendored_kernel
assert dir(vendored_kernel) == ["FlashConfig", "attention", "flash_fwd"]
assert vendored_kernel.FlashConfig().seq_tile_size == 2048
assert callable(vendored_kernel.attention)
print([name for name in sys.modules if name.split(".")[0] in ("nkifix", "neuronxcc", "numpy", "torch")])
"""
    done = run(program, compiler_host, compiler_host, monkeypatch=monkeypatch)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_refuses_name_that_the_package_does_not_have() -> None:
    import vendored_kernel

    with pytest.raises(AttributeError, match=r"^module 'vendored_kernel' has no attribute 'flash_bwd'$"):
        _ = vendored_kernel.flash_bwd


def test_package_lists_its_names() -> None:
    import vendored_kernel

    assert dir(vendored_kernel) == sorted(vendored_kernel.__all__)


# --------------------------------------------------------------------- another kernel, by NKIFIX_KERNEL

OTHER_KERNEL = """
import neuronxcc.nki as nki


class FlashConfig:
    pass


@nki.jit
def flash_fwd(q):
    return q
"""

TAKES_THE_OTHER = """
import warnings
warnings.simplefilter("ignore")
import sys
import vendored_kernel
assert not any(name.startswith("my_flash") for name in sys.modules)
from vendored_kernel import FlashConfig, flash_fwd
import my_flash.kernel
assert vendored_kernel.flash_fwd is my_flash.kernel.flash_fwd
print(FlashConfig.__module__, "vendored_kernel.kernel" in sys.modules)
"""


@pytest.fixture
def my_flash(tmp_path: Path) -> Path:
    """A folder with a package like those that nkifix vendor makes."""
    package = tmp_path / "my_flash"
    package.mkdir()
    (package / "kernel.py").write_text(OTHER_KERNEL, encoding="utf-8")
    (package / "__init__.py").write_text("", encoding="utf-8")
    return tmp_path


def test_kernel_that_the_variable_names_takes_the_place_of_our_own(
    my_flash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(backend.KERNEL_VARIABLE, "my_flash.kernel")
    done = run(TAKES_THE_OTHER, my_flash, ROOT / "src", monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "my_flash.kernel False\n"


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_kernel_is_our_own_where_the_variable_says_nothing(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv(backend.KERNEL_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(backend.KERNEL_VARIABLE, value)
    assert backend.kernel_name() == "vendored_kernel.kernel"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("json", "has no flash_fwd and no FlashConfig", id="no kernel"),
        pytest.param("no_such_module", "there is no such module", id="no module"),
        pytest.param("json.no_such_module", "there is no such module", id="no module in a package"),
    ],
)
def test_refuses_a_variable_that_names_no_kernel(
    name: str, words: str, loads_anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, wish="neuron", version="2.23.6484.0")
    monkeypatch.setenv(backend.KERNEL_VARIABLE, name)
    with pytest.raises(ImportError, match=words) as caught:
        backend.kernel_module()
    assert f"NKIFIX_KERNEL={name}" in str(caught.value)


def test_module_that_lacks_something_itself_says_what(
    my_flash: Path, loads_anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (my_flash / "lacking.py").write_text("import no_such_dependency\n", encoding="utf-8")
    pretend(monkeypatch, wish="neuron", version="2.23.6484.0")
    monkeypatch.syspath_prepend(str(my_flash))
    monkeypatch.setenv(backend.KERNEL_VARIABLE, "lacking")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        backend.kernel_module()
