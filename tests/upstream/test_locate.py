from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from nkifix.errors import RefusalError
from nkifix.upstream import locate
from tests.upstream import site as sites


@pytest.fixture
def site(tmp_path: Path) -> sites.Site:
    return sites.make(tmp_path / "site")


def test_installed_kernel_is_found_without_importing_its_package(
    site: sites.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site.root))
    assert locate.installed() == locate.Kernel(site.kernel, site.record)
    assert locate.PACKAGE not in sys.modules


def test_namespace_package_is_found_too(site: sites.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.root / locate.PACKAGE / "__init__.py").unlink()
    monkeypatch.syspath_prepend(str(site.root))
    assert locate.installed().path == site.kernel


def test_refuses_where_nothing_is_installed() -> None:
    with pytest.raises(RefusalError, match="is not installed") as caught:
        locate.installed()
    assert "--path" in str(caught.value.next_step)


def test_refuses_where_the_name_is_taken_by_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(locate.PACKAGE)
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, locate.PACKAGE, module)
    with pytest.raises(RefusalError, match="is not installed"):
        locate.installed()


def test_refuses_a_package_without_the_kernel(site: sites.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.kernel.unlink()
    monkeypatch.syspath_prepend(str(site.root))
    with pytest.raises(RefusalError, match=r"has no file modules/sliding_window/attention\.py"):
        locate.installed()


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(".", id="site-packages"),
        pytest.param(locate.PACKAGE, id="package"),
        pytest.param(str(locate.INSIDE_SITE), id="file"),
    ],
)
def test_path_may_be_a_folder_around_the_kernel(site: sites.Site, inside: str) -> None:
    assert locate.at(site.root / inside) == locate.Kernel(site.kernel, site.record)


def test_checkout_has_no_record(tmp_path: Path) -> None:
    file = tmp_path / locate.IN_CHECKOUT
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert locate.at(tmp_path) == locate.Kernel(file, None)


def test_record_of_another_package_is_not_taken(site: sites.Site) -> None:
    other = site.root / "a_first-1.dist-info"
    other.mkdir()
    (other / "RECORD").write_text(f"x{locate.INSIDE_SITE},,\n{locate.INSIDE_SITE}c,,\n")
    (site.root / "b_second-1.dist-info").mkdir()
    assert locate.at(site.kernel).record == site.record


def test_file_of_another_name_has_no_record(tmp_path: Path) -> None:
    file = tmp_path / "attention.py"
    file.write_bytes(b"")
    assert locate.at(file) == locate.Kernel(file, None)


@pytest.mark.parametrize(
    ("name", "words"), [pytest.param("missing.py", "no such file", id="file"), pytest.param(".", "hold", id="folder")]
)
def test_refuses_a_path_without_the_kernel(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(RefusalError, match=words):
        locate.at(tmp_path / name)
