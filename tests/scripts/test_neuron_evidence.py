"""``scripts/neuron_evidence.sh``, on a Neuron host of our own making, where what it runs is emulated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nkifix
from nkifix.contribute import hardware
from nkifix.contribute.base import KERNEL, TESTS
from nkifix.contribute.proof import sha256
from nkifix.contribute.repository import Identity, Repository, scratch
from tests.contribute import fake_upstream
from tests.contribute.fake_upstream import FIXED, STOCK

SCRIPT = Path(__file__).parents[2] / "scripts" / "neuron_evidence.sh"
SOURCE = Path(nkifix.__file__).parent.parent

PYTHON = f"""\
#!/bin/sh
# the interpreter of a Neuron host: it has neuronxcc, and pytest runs on the device
case "$1 $2" in
"-c import neuronxcc.nki") exit 0 ;;
"-m pytest") PYTHONPATH="$PYTHONPATH:{SOURCE}" exec {sys.executable} -m nkifix run "$@" ;;
esac
PYTHONPATH=packages exec {sys.executable} "$@"
"""

SMALL = """\
import pytest
from neuronx_distributed_inference.modules.sliding_window import attention


class TestIt:
    @pytest.mark.parametrize("old, number", [
    [True, 1],
    NEW
    ])
    def test_name_is_right(self, old, number):
        assert old or "casual_mask = True" not in open(attention.__file__).read()
"""
BEFORE = SMALL.replace("    NEW\n", "").encode()
AFTER = SMALL.replace("NEW", "[False, 2],").encode()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder with a clone, a kit and the programs of a Neuron host."""
    clone = fake_upstream.make(tmp_path / "clone", test_attention=BEFORE)
    opened = Repository.open(clone)
    base = opened.find_commit("HEAD") or ""
    with scratch(opened) as made:
        commit = made.commit(base, {KERNEL: FIXED, TESTS: AFTER}, "Mend\n", Identity("A", "a@b.c"), 1_700_000_000)
        name, mail = made.format_patch(base, commit)
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / name).write_bytes(mail)
    (tmp_path / "bin").mkdir()
    program(tmp_path, "neuron-ls", "#!/bin/sh\necho '1 device, 2 cores'\n")
    program(tmp_path, "python3", PYTHON)
    (tmp_path / "product_name").write_text("trn1.2xlarge\n", encoding="utf-8")
    information = tmp_path / "packages" / "neuronx_cc-2.21.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: neuronx-cc\nVersion: 2.21\n", encoding="utf-8")
    return tmp_path


def program(host: Path, name: str, text: str) -> None:
    file = host / "bin" / name
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)


def record(host: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    given = options or ("--kit", "kit", "--repo", "clone", "--output", "trn1.json")
    (host / "temporary").mkdir(exist_ok=True)
    environment = {
        "PATH": f"{host / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PRODUCT_NAME": str(host / "product_name"),
        "TMPDIR": str(host / "temporary"),
        "HOME": str(host),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    environment = {**kept, **environment, **variables}
    return subprocess.run(["bash", str(SCRIPT), *given], cwd=host, env=environment, capture_output=True, text=True)


def test_evidence_is_recorded_and_read(host: Path) -> None:
    before = fake_upstream.snapshot(host / "clone")
    done = record(host)
    assert done.returncode == 0, done.stderr
    found = hardware.read(host / "trn1.json")
    assert found.instance_type == "trn1.2xlarge"
    assert found.packages["neuronx-cc"] == "2.21"
    assert found.base_commit in (host / "kit" / "0001-Mend.patch").read_text(encoding="utf-8")
    assert found.digests == {
        KERNEL: {"before": sha256(STOCK), "after": sha256(FIXED)},
        TESTS: {"before": sha256(BEFORE), "after": sha256(AFTER)},
    }
    old, new = (f"{TESTS}::TestIt::test_name_is_right[{value}]" for value in ("True-1", "False-2"))
    assert found.before.outcomes == {old: "passed", new: "failed"}
    assert found.after.outcomes == {old: "passed", new: "passed"}
    assert "AssertionError" in found.before.output
    assert found.before.command == f"PYTHONPATH=src python -m pytest -v -p no:cacheprovider {TESTS}"
    hardware.require_fit(found, (new,))
    assert str(host / "temporary") not in json.dumps(found.raw)
    assert list((host / "temporary").iterdir()) == []
    assert fake_upstream.snapshot(host / "clone") == before


def broken_patch(host: Path) -> None:
    file = host / "kit" / "0001-Mend.patch"
    file.write_bytes(file.read_bytes().replace(b"casual_mask = True", b"another = True"))


def no_base(host: Path) -> None:
    file = host / "kit" / "0001-Mend.patch"
    file.write_bytes(file.read_bytes().replace(b"base-commit", b"commit"))


def other_clone(host: Path) -> None:
    shutil.rmtree(host / "clone")
    fake_upstream.make(host / "clone", attention=b"another\n")


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        pytest.param(lambda host: (host / "bin" / "neuron-ls").unlink(), "no Neuron host", id="no Neuron host"),
        pytest.param(lambda host: program(host, "neuron-ls", "#!/bin/sh\nexit 1\n"), "NeuronCores", id="no cores"),
        pytest.param(lambda host: program(host, "python3", "#!/bin/sh\nexit 1\n"), "no neuronxcc", id="no compiler"),
        pytest.param(lambda host: (host / "product_name").unlink(), "cannot be read", id="no EC2 instance"),
        pytest.param(lambda host: (host / "trn1.json").write_bytes(b""), "is there already", id="output is there"),
        pytest.param(lambda host: shutil.rmtree(host / "kit"), "holds no patch", id="no kit"),
        pytest.param(lambda host: shutil.rmtree(host / "clone"), "cannot be cloned", id="no clone"),
        pytest.param(no_base, "names no base-commit", id="no base"),
        pytest.param(other_clone, "does not have", id="base is not in the clone"),
        pytest.param(broken_patch, "does not apply", id="patch does not apply"),
    ],
)
def test_refuses_and_explains(host: Path, prepare: object, what: str) -> None:
    assert callable(prepare)
    prepare(host)
    done = record(host)
    assert done.returncode == 2
    assert "ERROR " in done.stderr
    assert what in done.stderr
    assert "next: " in done.stderr
    assert not (host / "trn1.json").exists() or (host / "trn1.json").read_bytes() == b""
    assert list((host / "temporary").iterdir()) == []


@pytest.mark.parametrize("options", [("--kit", "kit"), ("--what", "1"), ("--kit",)])
def test_refuses_wrong_options(host: Path, options: tuple[str, ...]) -> None:
    done = record(host, *options)
    assert done.returncode == 2
    assert "--kit DIR --repo CLONE --output FILE" in done.stderr
