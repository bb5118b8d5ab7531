"""Serving neuronxcc, and taking it back without a trace."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from nkifix.emulator import Params, machine, real_compiler, serving
from nkifix.emulator.serve import install, installed
from nkifix.errors import BackendError, MissingExtraError
from tests.emulator.project import Project, import_state, load

# ------------------------------------------------------------------------------------------- serving


@pytest.mark.parametrize(
    ("module", "names"),
    [
        pytest.param(
            "neuronxcc.nki",
            ("jit", "baremetal", "benchmark", "profile", "simulate_kernel", "FrameworkKernel", "tensor"),
            id="nki",
        ),
        pytest.param("neuronxcc.nki.compiler", ("force_auto_alloc", "multi_buffer", "sbuf", "psum"), id="compiler"),
        pytest.param("neuronxcc.nki.compiler.sbuf", ("alloc", "mod_alloc", "auto_alloc"), id="sbuf"),
        pytest.param("neuronxcc.nki.compiler.psum", ("alloc", "mod_alloc", "auto_alloc"), id="psum"),
        pytest.param("neuronxcc.nki.compiler.backends.neuron.tensor", ("local_tile",), id="tensor-for-annotations"),
        pytest.param("neuronxcc.nki.compiler.backends.neuron.indexing", ("TileIndex",), id="index-for-annotations"),
        pytest.param("neuronxcc.nki.isa", ("nc_matmul", "nc_version"), id="isa"),
        pytest.param("neuronxcc.nki.language", ("load", "par_dim", "bfloat16", "sum"), id="language"),
        pytest.param("neuronxcc.nki.typing", ("tensor", "mutable_tensor"), id="typing"),
    ],
)
def test_serves_documented_names(module: str, names: tuple[str, ...]) -> None:
    with serving():
        served = load(module)
        assert all(hasattr(served, name) for name in names)
        assert "emulated on the CPU" in str(served.__doc__)


def test_submodules_are_attributes_of_their_package() -> None:
    with serving():
        nki = load("neuronxcc").nki
        assert nki.language is load("neuronxcc.nki.language")
        assert pkgutil.resolve_name("neuronxcc.nki:isa.nc_version.gen2") == 2


@pytest.mark.parametrize(
    ("module", "name", "hint"),
    [
        pytest.param("neuronxcc.nki.language", "lod", "; the nearest emulated name is load", id="misspelled"),
        pytest.param("neuronxcc.nki", "zzz", "", id="unlike-any"),
        pytest.param("neuronxcc", "__version__", "", id="version"),
    ],
)
def test_refuses_unknown_names(module: str, name: str, hint: str) -> None:
    with serving(), pytest.raises(AttributeError) as caught:
        getattr(load(module), name)
    assert str(caught.value) == f"{module}.{name} is not emulated{hint}"


def test_refuses_unknown_submodules() -> None:
    with serving(), pytest.raises(ModuleNotFoundError, match=r"neuronxcc\.driver"):
        load("neuronxcc.driver")


def test_find_spec_tells_inside_from_outside() -> None:
    assert importlib.util.find_spec("neuronxcc") is None
    with serving():
        for _ in range(2):  # before and after the import
            spec = importlib.util.find_spec("neuronxcc.nki.isa")
            assert spec is not None
            assert spec.origin == "nkifix emulator"
            load("neuronxcc.nki.isa")
    assert importlib.util.find_spec("neuronxcc") is None


def test_reload_serves_the_same_names() -> None:
    with serving():
        language = load("neuronxcc.nki.language")
        jit = load("neuronxcc.nki").jit
        language.load = None
        assert importlib.reload(language).load is not None
        assert importlib.reload(load("neuronxcc.nki")).jit is jit


def test_params_reach_kernels_called_from_new_threads(project: Project) -> None:
    seen: list[str] = []
    with serving(Params(target="trn2")):
        kernel = load("user_kernel")
        thread = threading.Thread(target=lambda: seen.append(kernel.generation()))
        thread.start()
        thread.join()
    assert seen == ["gen3"]
    assert machine.params() == Params()


# ---------------------------------------------------------------------------------------- taking back


@pytest.fixture
def torch_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the stub be served on machines without torch too: it is imported only for a device."""
    monkeypatch.setattr("nkifix.emulator.serve.find_spec", lambda name: ModuleSpec(name, None))


@pytest.mark.usefixtures("torch_is_here")
def test_leaves_the_import_system_as_before(project: Project) -> None:
    before = import_state()
    with serving(torch_xla=True):
        load("user_kernel")
        load("torch_xla.core.xla_model")
        assert {"user_kernel", "neuronxcc", "torch_xla"} <= set(sys.modules)
    assert import_state() == before


def test_leaves_the_import_system_as_before_after_an_exception(project: Project) -> None:
    before = import_state()
    with pytest.raises(ZeroDivisionError), serving():
        load("user_kernel").missing = 1 / 0
    assert import_state() == before


def test_import_outside_fails_again(project: Project) -> None:
    with serving():
        load("user_kernel")
    with pytest.raises(ModuleNotFoundError, match="neuronxcc"):
        load("user_kernel")


def test_contexts_do_not_share_kernels(project: Project) -> None:
    with serving():
        first = load("user_kernel").double
    with serving():
        assert load("user_kernel").double is not first


def test_kept_kernel_runs_after_the_context(project: Project) -> None:
    np = load("numpy")
    with serving():
        double = load("user_kernel").double
    assert double(np.ones((2, 3), np.float32)).tolist() == [[2.0] * 3] * 2


# -------------------------------------------------------------------------------- nesting and threads


def test_nested_contexts_take_back_only_at_the_end(project: Project) -> None:
    before = import_state()
    with serving():
        with serving(Params(target="trn2")):
            kernel = load("user_kernel")
            assert kernel.generation() == "gen3"
            with serving():
                assert kernel.generation() == "gen3"
        assert sys.modules["user_kernel"] is kernel
        assert kernel.generation() == "gen2"
    assert import_state() == before


@pytest.mark.usefixtures("torch_is_here")
def test_stub_asked_for_in_a_nested_context_is_served_and_taken_back() -> None:
    before = import_state()
    with serving():
        assert importlib.util.find_spec("torch_xla") is None
        with serving(torch_xla=True):
            load("torch_xla")
    assert import_state() == before


def test_contexts_of_two_threads_end_with_the_last(project: Project) -> None:
    before = import_state()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with serving(Params(target="trn2")):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with serving():
        thread.start()
        assert entered.wait(10)
        kernel = load("user_kernel")
        assert kernel.generation() == "gen2"
    assert sys.modules["user_kernel"] is kernel
    leave.set()
    thread.join()
    assert import_state() == before


def test_finder_that_the_program_took_away_is_no_error(project: Project) -> None:
    finders = list(sys.meta_path)
    with serving():
        sys.meta_path[:] = finders
    assert sys.meta_path == finders


def test_install_serves_until_the_end(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    default = machine.params()
    try:
        install(Params(target="trn2"))
        assert load("user_kernel").generation() == "gen3"
        with serving():
            pass
        assert "user_kernel" in sys.modules
    finally:
        machine.set_default(default)
        for name in [name for name in sys.modules if name.split(".")[0] in ("neuronxcc", "user_kernel")]:
            del sys.modules[name]


# ---------------------------------------------------------------------------------- beside real ones


def test_no_real_compiler_here() -> None:
    assert real_compiler() is None
    with serving():
        assert real_compiler() is None
        load("neuronxcc")
        assert real_compiler() is None


@pytest.mark.parametrize(
    ("path", "where"),
    [
        pytest.param("neuronxcc/__init__.py", "neuronxcc/__init__.py", id="package"),
        pytest.param("neuronxcc/nki/__init__.py", "neuronxcc", id="folder-without-init"),
    ],
)
def test_real_compiler_is_found_without_importing_it(project: Project, path: str, where: str) -> None:
    project.add(path, "raise SystemExit('imported')")
    assert real_compiler() == str(project.root / where)
    assert "neuronxcc" not in sys.modules


def test_refuses_to_serve_beside_a_real_compiler(project: Project) -> None:
    project.add("neuronxcc/__init__.py", "raise SystemExit('imported')")
    before = import_state()
    with pytest.raises(BackendError, match="a real neuronxcc is installed") as caught, serving():
        pass
    assert caught.value.where == str(project.root / "neuronxcc/__init__.py")
    assert "nkifix run" in str(caught.value.next_step)
    assert import_state() == before


def test_serves_beside_a_real_compiler_in_a_process_of_its_own(project: Project) -> None:
    project.add("neuronxcc/__init__.py", "raise SystemExit('imported')")
    with serving(beside_real=True):
        assert load("user_kernel").generation() == "gen2"
        with serving():
            pass
    assert "neuronxcc" not in sys.modules


@pytest.mark.parametrize(
    ("module", "where"),
    [
        pytest.param(ModuleType("neuronxcc"), "loaded in this process", id="without-file"),
        pytest.param(ModuleType("neuronxcc"), "x.py", id="with-file"),
    ],
)
def test_refuses_to_serve_over_a_loaded_compiler(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, where: str
) -> None:
    if where == "x.py":
        module.__file__ = where
    monkeypatch.setitem(sys.modules, "neuronxcc", module)
    with pytest.raises(BackendError) as caught, serving(beside_real=True):
        pass
    assert caught.value.where == where
    assert sys.modules["neuronxcc"] is module


def test_installed_asks_finders_of_other_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Editable:
        @staticmethod
        def find_spec(name: str, path: object, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(name, None) if name == "user_editable" else None

    monkeypatch.setattr(sys, "meta_path", [object(), *sys.meta_path, Editable])
    assert installed("user_editable") == "user_editable"
    assert installed("user_nothing") is None


def test_refuses_the_stub_beside_a_real_torch_xla(project: Project) -> None:
    project.add("torch_xla/__init__.py", "raise SystemExit('imported')")
    before = import_state()
    with pytest.raises(BackendError, match="a real torch_xla"), serving(torch_xla=True):
        pass
    assert import_state() == before


def test_refuses_the_stub_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    find = functools.partial(_find_spec_without, "torch")
    monkeypatch.setattr("nkifix.emulator.serve.find_spec", find)
    with pytest.raises(MissingExtraError, match="needs the package 'torch'") as caught, serving(torch_xla=True):
        pass
    assert caught.value.next_step == "pip install 'nkifix[torch]'"


def _find_spec_without(hidden: str, name: str) -> ModuleSpec | None:
    return None if name == hidden else importlib.util.find_spec(name)
