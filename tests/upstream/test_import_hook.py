from __future__ import annotations

import importlib
import importlib.util
import inspect
import linecache
import os
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nkifix.errors import RefusalError
from nkifix.upstream import import_hook
from nkifix.upstream.import_hook import MARK, AutofixWarning
from nkifix.upstream.locate import INSIDE_SITE, MODULE, PACKAGE
from tests.upstream import site as sites

KERNEL = b'''"""A kernel of ours that needs no compiler."""


def flash_fwd(use_causal_mask=True, window=0):
    if use_causal_mask and window < 0:
        causal_mask = "causal"
    elif window > 0:
        causal_mask = "window"
    else:
        casual_mask = True  # noqa: F841
    if not causal_mask:
        raise LookupError
    return causal_mask


def fails():
    raise LookupError("casual")  # line 17
'''
"""Its fix is the typo's; the comment at the end is no comment of an assignment and stays."""
EMPTY_PACKAGES = {path: b"" for path in INSIDE_SITE.parents if path.name}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sites.Site]:
    made = sites.make(tmp_path / "site", KERNEL)
    for folder in EMPTY_PACKAGES:
        (made.root / folder / "__init__.py").write_bytes(b"")
    monkeypatch.syspath_prepend(str(made.root))
    finders = list(sys.meta_path)
    yield made
    sys.meta_path[:] = finders
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    linecache.clearcache()


def load() -> ModuleType:
    return importlib.import_module(MODULE)


def test_module_is_fixed_as_it_is_imported_and_no_file_changes(site: sites.Site) -> None:
    before = site.files()
    import_hook.install()
    assert import_hook.is_active()
    module = load()
    assert module.flash_fwd() is True
    assert module.__file__ == str(site.kernel)
    assert module.__spec__ is not None
    assert module.__spec__.origin == str(site.kernel)
    assert sys.modules[MODULE] is module
    assert import_hook.is_active()
    assert site.files() == before
    assert not Path(importlib.util.cache_from_source(str(site.kernel))).exists()


def test_without_the_hook_the_same_module_crashes(site: sites.Site) -> None:
    assert not import_hook.is_active()
    with pytest.raises(UnboundLocalError):
        load().flash_fwd()
    assert not import_hook.is_active()


def test_fixed_module_is_not_taken_from_byte_code_of_the_stock_one(site: sites.Site) -> None:
    with pytest.raises(UnboundLocalError):
        load().flash_fwd()
    del sys.modules[MODULE]
    import_hook.install()
    assert load().flash_fwd() is True
    import_hook.uninstall()
    with pytest.raises(UnboundLocalError):
        load().flash_fwd()


@pytest.mark.parametrize("cleared", [False, True], ids=["", "line cache cleared"])
def test_source_that_tools_are_given_is_the_fixed_one(site: sites.Site, cleared: bool) -> None:
    import_hook.install()
    module = load()
    if cleared:
        linecache.clearcache()
    linecache.checkcache()
    assert "casual_mask" not in inspect.getsource(module.flash_fwd)
    assert inspect.getsource(module.flash_fwd).startswith("def flash_fwd(")
    assert module.__loader__ is not None
    assert "casual_mask" not in module.__loader__.get_source(MODULE)  # type: ignore[attr-defined]
    if not cleared:
        assert "casual_mask" not in inspect.getsource(module)


def test_traceback_shows_the_fixed_lines_under_a_name_that_says_so(site: sites.Site) -> None:
    import_hook.install()
    module = load()
    with pytest.raises(LookupError) as caught:
        module.fails()
    text = "".join(traceback.format_exception(caught.value))
    assert f'File "{site.kernel}{MARK}", line 17, in fails\n    raise LookupError("casual")  # line 17' in text


def test_other_modules_are_none_of_its_business(site: sites.Site) -> None:
    import_hook.install()
    assert importlib.import_module(PACKAGE).__file__ == str(site.root / PACKAGE / "__init__.py")
    assert type(importlib.import_module(PACKAGE).__loader__).__name__ == "SourceFileLoader"


def test_module_fixed_upstream_is_loaded_as_it_is(site: sites.Site) -> None:
    site.kernel.write_bytes(KERNEL.replace(b"casual_mask = True  # noqa: F841", b"causal_mask = True"))
    import_hook.install()
    module = load()
    assert module.flash_fwd() is True
    assert module.flash_fwd.__code__.co_filename == str(site.kernel)


def test_second_installation_replaces_the_first(site: sites.Site) -> None:
    finders = len(sys.meta_path)
    import_hook.install()
    import_hook.install("full")
    assert len(sys.meta_path) == finders + 1
    import_hook.install(only=["misspelled-causal-mask"])
    assert load().flash_fwd() is True


# -------------------------------------------------------------------------------------------- undone


def test_uninstalling_gives_the_stock_module_back(site: sites.Site) -> None:
    finders = list(sys.meta_path)
    import_hook.install()
    fixed = load()
    import_hook.uninstall()
    assert sys.meta_path == finders
    assert not import_hook.is_active()
    assert MODULE not in sys.modules
    assert not hasattr(sys.modules[MODULE.rpartition(".")[0]], "attention")
    assert fixed.flash_fwd() is True
    with pytest.raises(UnboundLocalError):
        load().flash_fwd()


def test_uninstalling_before_the_import_leaves_no_trace(site: sites.Site) -> None:
    import_hook.install()
    import_hook.uninstall()
    with pytest.raises(UnboundLocalError):
        load().flash_fwd()


def test_uninstalling_leaves_another_module_in_its_place(site: sites.Site) -> None:
    import_hook.install()
    load()
    package = sys.modules[MODULE.rpartition(".")[0]]
    package.attention = other = ModuleType("other")  # type: ignore[attr-defined]
    import_hook.uninstall()
    assert package.attention is other


def test_uninstalling_twice_is_uninstalling_once(site: sites.Site) -> None:
    import_hook.uninstall()
    stock = load()
    import_hook.uninstall()
    assert sys.modules[MODULE] is stock


# -------------------------------------------------------------------------------- refusals, warnings


def test_coming_too_late_is_said_with_what_to_do(site: sites.Site) -> None:
    load()
    with pytest.warns(AutofixWarning, match="came too late.*before the first import"):
        import_hook.install()
    assert not import_hook.is_active()


def test_coming_again_after_the_fixed_import_is_not_too_late(
    site: sites.Site, recwarn: pytest.WarningsRecorder
) -> None:
    import_hook.install()
    load()
    import_hook.install()
    assert not recwarn


def test_refuses_an_unknown_kernel_rather_than_run_it_unfixed(site: sites.Site) -> None:
    site.kernel.write_bytes(b"def flash_fwd():\n    pass\n")
    import_hook.install()
    with pytest.raises(RefusalError, match="cannot be fixed at import") as caught:
        load()
    assert str(site.kernel) in str(caught.value.where)
    assert MODULE not in sys.modules


def test_refuses_a_module_that_is_no_file(site: sites.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "site.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, content in site.files().items():
            zipped.writestr(name, content)
    monkeypatch.setattr(sys, "path", [str(archive), *(entry for entry in sys.path if entry != str(site.root))])
    import_hook.install()
    with pytest.raises(RefusalError, match="not loaded from a Python file"):
        load()


def test_refuses_an_unknown_series() -> None:
    with pytest.raises(RefusalError, match="no series 'nonsense'"):
        import_hook.install("nonsense")


def test_module_that_does_not_exist_is_reported_as_ever(site: sites.Site) -> None:
    site.kernel.unlink()
    import_hook.install()
    with pytest.raises(ModuleNotFoundError):
        load()


def test_finders_of_the_old_protocol_are_passed_over(site: sites.Site) -> None:
    sys.meta_path.insert(0, object())  # type: ignore[arg-type]
    import_hook.install()
    sys.meta_path.insert(0, sys.meta_path.pop(1))
    spec = sys.meta_path[1].find_spec(MODULE, [str(site.kernel.parent)], None)
    assert spec is not None
    assert spec.origin == str(site.kernel)


# ------------------------------------------------------------------------------- import nkifix.autofix


def run(site: sites.Site, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(import_hook.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site.root), source]), **variables}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


IMPORT = f"from {MODULE} import flash_fwd\n"


def test_importing_autofix_is_all_it_takes(site: sites.Site) -> None:
    done = run(site, f"import nkifix.autofix\n{IMPORT}print(flash_fwd())")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_importing_autofix_too_late_warns(site: sites.Site) -> None:
    done = run(site, f"{IMPORT}import nkifix.autofix\n")
    assert done.returncode == 0
    assert "AutofixWarning: nkifix.autofix came too late" in done.stderr


@pytest.mark.parametrize(("series", "code"), [("typo", 0), ("", 0), ("nonsense", 1)])
def test_series_comes_from_the_environment(site: sites.Site, series: str, code: int) -> None:
    done = run(site, "import nkifix.autofix", NKIFIX_SERIES=series)
    assert done.returncode == code
    assert ("no series 'nonsense'" in done.stderr) is bool(code)


def test_uninterrupted_traceback_does_not_show_stock_lines(site: sites.Site) -> None:
    done = run(site, f"import nkifix.autofix\nfrom {MODULE} import fails\nfails()")
    assert f'{site.kernel}{MARK}", line 17, in fails' in done.stderr
