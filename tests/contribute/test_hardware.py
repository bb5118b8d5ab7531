"""Evidence files: read, checked, and quoted only for the bytes they were recorded with."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from nkifix.contribute import hardware
from nkifix.errors import RefusalError
from tests.contribute.proofs import BASE, NEW, OLD, evidence


def written(folder: Path, raw: object) -> Path:
    file = folder / "trn1.json"
    file.write_text(raw if isinstance(raw, str) else json.dumps(raw), encoding="utf-8")
    return file


def test_evidence_is_read(tmp_path: Path) -> None:
    found = hardware.read(written(tmp_path, evidence()))
    assert (found.file, found.instance_type, found.python) == ("trn1.json", "trn1.2xlarge", "3.10.12")
    assert found.base_commit == BASE.commit
    assert found.before.outcomes == {OLD: "passed", NEW: "failed"}
    assert (found.after.seconds, found.after.output) == (59.8, "2 passed\n")
    hardware.require_fit(found, (NEW,))


@pytest.mark.parametrize("name", ["trn1.2xlarge", "trn1n.32xlarge", "trn2.48xlarge", "trn2u.48xlarge", "inf2.xlarge"])
def test_instances_with_neuron_cores_are_taken(tmp_path: Path, name: str) -> None:
    raw = evidence()
    raw["environment"]["instance_type"] = name
    assert hardware.read(written(tmp_path, raw)).instance_type == name


def changed(*path: str, to: object = None) -> dict[str, Any]:
    """The evidence with one value changed or, without ``to``, taken away."""
    raw = copy.deepcopy(evidence())
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return raw


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="no object"),
        pytest.param("1", id="a number"),
        pytest.param(changed("schema", to="nkifix.pr-evidence/1"), id="another schema"),
        pytest.param(changed("schema", to="nkifix.neuron-evidence/2"), id="a newer schema"),
        pytest.param(changed("schema"), id="no schema"),
        pytest.param(changed("recorded"), id="no time"),
        pytest.param(changed("environment", "instance_type", to="m5.large"), id="a CPU instance"),
        pytest.param(changed("environment", "instance_type", to="emulated"), id="emulated"),
        pytest.param(changed("environment", "neuron_ls", to=""), id="no device list"),
        pytest.param(changed("environment", "packages", "neuronx-cc"), id="no compiler"),
        pytest.param(changed("environment", "packages", to=["neuronx-cc"]), id="packages in a list"),
        pytest.param(changed("base_commit", to=7), id="commit is a number"),
        pytest.param(changed("files"), id="no files"),
        pytest.param(changed("runs", "after"), id="no run after"),
        pytest.param(changed("runs", "before", "tests", to={}), id="no tests"),
        pytest.param(changed("runs", "before", "tests", to={"a": 1}), id="outcome is a number"),
        pytest.param(changed("runs", "before", "seconds", to="soon"), id="no seconds"),
        pytest.param(changed("runs", "before", "command"), id="no command"),
    ],
)
def test_refuses_what_is_no_evidence(tmp_path: Path, raw: object) -> None:
    file = written(tmp_path, raw)
    with pytest.raises(RefusalError, match="no evidence of a run on hardware") as refusal:
        hardware.read(file)
    assert refusal.value.where == str(file)
    assert "neuron_evidence.sh" in str(refusal.value.next_step)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="no such file"):
        hardware.read(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("stage", "outcomes"),
    [
        pytest.param("before", {NEW: "passed"}, id="passes without the fix"),
        pytest.param("after", {NEW: "failed"}, id="fails with the fix"),
        pytest.param("after", {OLD: "passed"}, id="not run"),
    ],
)
def test_refuses_evidence_that_speaks_against_the_test(tmp_path: Path, stage: str, outcomes: dict[str, str]) -> None:
    found = hardware.read(written(tmp_path, changed("runs", stage, "tests", to=outcomes)))
    with pytest.raises(RefusalError, match="on hardware the new test is") as refusal:
        hardware.require_fit(found, (NEW,))
    assert NEW in str(refusal.value.where)
