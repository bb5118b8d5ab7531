"""Which modules are forgotten when neuronxcc is served no more."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType

import pytest

from nkifix.emulator import serving
from tests.emulator.project import KERNEL, Project, load

MAKERS = [
    pytest.param("return {1: [(double,)]}", id="container"),
    pytest.param("import types; return types.MappingProxyType({1: user_kernel})", id="read-only-mapping"),
    pytest.param("import functools; return functools.partial(double, 1)", id="partial"),
    pytest.param("import functools; return functools.partial(print, key=double)", id="partial-keyword"),
    pytest.param("import functools; return functools.lru_cache(user_kernel.generation)", id="cached"),
    pytest.param("return lambda: double", id="closure"),
    pytest.param("return lambda k=double: k", id="default"),
    pytest.param("return lambda *, k=double: k", id="keyword-default"),
    pytest.param("f = lambda: 1; f.k = double; return f", id="function-attribute"),
    pytest.param("import types; return types.SimpleNamespace(k=user_kernel)", id="namespace"),
    pytest.param("return type('C', (), {'k': double})", id="class-attribute"),
    pytest.param("return type('C', (), {'k': staticmethod(double)})", id="static-method"),
    pytest.param("return type('C', (), {'k': property(double)})", id="property"),
    pytest.param("x = type('C', (), {})(); x.k = user_kernel; return x", id="instance"),
    pytest.param("x = type('C', (), {'f': lambda s: 1})(); x.k = user_kernel; return x.f", id="bound-method"),
]
"""Ways in which a value can hide something of the emulator's."""


@pytest.mark.parametrize("text", MAKERS)
def test_forgets_modules_that_hide_served_objects(project: Project, text: str) -> None:
    project.add(
        "user_holder.py", f"def make():\n    import user_kernel; double = user_kernel.double; {text}\nx = make()"
    )
    with serving():
        load("user_holder")
    assert not {"user_kernel", "user_holder"} & set(sys.modules)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("import user_kernel", id="module"),
        pytest.param("from user_kernel import double", id="kernel"),
        pytest.param("from user_kernel import generation", id="plain-function"),
        pytest.param("from neuronxcc import nki", id="served-package"),
        pytest.param("from neuronxcc.nki.language import par_dim", id="served-class"),
        pytest.param("from neuronxcc.nki.language import sbuf", id="served-enum"),
        pytest.param("from neuronxcc.nki.language import tile_size", id="served-namespace"),
        pytest.param("from neuronxcc.nki.language import par_dim\np = par_dim(2)\ndel par_dim", id="served-value"),
    ],
)
def test_forgets_modules_that_hold_served_objects(project: Project, text: str) -> None:
    project.add("user_holder.py", text)
    project.add("user_user.py", "import user_holder")
    with serving():
        load("user_user")
    assert not {"user_kernel", "user_holder", "user_user"} & set(sys.modules)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("X = {'a': [1, (2,)]}\nimport sys\nmodules = sys.modules", id="plain-values"),
        pytest.param("def f():\n    import user_kernel", id="import-in-a-function"),
        pytest.param(
            "class Proxy:\n"
            "    def __getattribute__(self, name):\n        raise RuntimeError(name)\n"
            "    __class__ = property(lambda self: 1 / 0)\n"
            "x = [Proxy()]\ndel Proxy",
            id="proxy-that-wakes",
        ),
        pytest.param(
            "def outer():\n    def f():\n        return later\n    yield f\n    later = 1\nx = next(outer())",
            id="empty-cell",
        ),
        pytest.param("import sys\nsys.modules['user_odd'] = 7", id="odd-module"),
        pytest.param("class C:\n    __module__ = 7", id="odd-class"),
    ],
)
def test_leaves_modules_that_hold_none(project: Project, text: str) -> None:
    project.add("user_library.py", text)
    with serving():
        load("user_kernel")
        library = load("user_library")
    assert sys.modules.pop("user_library") is library
    sys.modules.pop("user_odd", None)


def test_leaves_lazy_modules_asleep(project: Project) -> None:
    project.add("user_lazy.py", "raise SystemExit('woken')")
    with serving():
        spec = importlib.util.find_spec("user_lazy")
        assert spec is not None
        assert spec.loader is not None
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules["user_lazy"] = lazy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(lazy)
    assert sys.modules.pop("user_lazy") is lazy


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        pytest.param("registered = {}", True, id="registry"),
        pytest.param("registered = {}\nfrom user_kernel import double", False, id="depends"),
    ],
)
def test_package_with_compiled_code_is_no_dependent_for_what_others_register(
    project: Project, text: str, stays: bool
) -> None:
    project.add("user_compiled/__init__.py", text)
    project.add("user_plugin.py", "import user_compiled, user_kernel\nuser_compiled.registered[1] = user_kernel")
    extension = ModuleType("user_compiled._speed")
    loader = ExtensionFileLoader("user_compiled._speed", "nowhere.so")
    extension.__spec__ = ModuleSpec("user_compiled._speed", loader)
    with serving():
        load("user_compiled")
        sys.modules["user_compiled._speed"] = extension
        load("user_plugin")
    left = set(sys.modules)
    assert sys.modules.pop("user_compiled._speed") is extension
    assert "user_plugin" not in left
    assert ("user_compiled" in left) == stays


def test_parent_from_before_loses_its_new_child(project: Project) -> None:
    project.add("user_package/__init__.py", "")
    project.add("user_package/kernel.py", KERNEL)
    package = load("user_package")
    before = dict(vars(package))
    with serving():
        load("user_package.kernel")
        assert package.kernel
    assert vars(package) == before
    assert sys.modules["user_package"] is package


def test_module_that_was_replaced_comes_back(project: Project) -> None:
    project.add("user_package/__init__.py", "")
    project.add("user_package/kernel.py", "")
    old = load("user_package.kernel")
    with serving():
        del sys.modules["user_package.kernel"]
        project.add("user_package/kernel.py", KERNEL)
        assert load("user_package.kernel").double
    assert sys.modules["user_package.kernel"] is old
    assert sys.modules["user_package"].kernel is old


def test_new_name_of_an_old_module_stays(project: Project) -> None:
    project.add("user_old.py", "")
    old = load("user_old")
    with serving():
        old.kernel = load("user_kernel")
        sys.modules["user_alias"] = old
    assert sys.modules.pop("user_alias") is old
