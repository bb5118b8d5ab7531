from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import nkifix.profiling
from nkifix.differential.cases import Case
from nkifix.differential.references import resolve
from nkifix.emulator.footprint import Sample
from nkifix.profiling.document import SCHEMA, document, in_report, thinned
from nkifix.profiling.measure import Measurement, measure

FILE = Path(nkifix.profiling.__file__).parent / "schema" / "profile-1.json"
CASE = Case(name="small", head_dim=32, seq_q=256, seq_k=600)


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure(resolve("vendored"), CASE, "trn1", compute=False)


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_schema_is_one_and_names_its_version(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"]["const"] == SCHEMA == schema["$id"]


def test_document_has_the_form_of_the_schema(measured: Measurement, schema: Any) -> None:
    made = json.loads(json.dumps(document(measured)))
    jsonschema.validate(made, schema)
    assert "against" not in made
    with_second = json.loads(json.dumps(document(measured, replace(measured, target="trn2"))))
    jsonschema.validate(with_second, schema)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda made: made.update(schema="nkifix.profile/2"), id="another version"),
        pytest.param(lambda made: made.update(more=1), id="a field too many"),
        pytest.param(lambda made: made["profile"].pop("engines"), id="a field too few"),
        pytest.param(lambda made: made["profile"].update(target="trn9"), id="no such target"),
        pytest.param(lambda made: made.update(estimated=False), id="not an estimate"),
        pytest.param(lambda made: made.update(against=made["profile"]), id="a second one without ratios"),
    ],
)
def test_schema_refuses_other_forms(change: Any, measured: Measurement, schema: Any) -> None:
    made = json.loads(json.dumps(document(measured)))
    change(made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, schema)


def test_document_tells_what_was_measured(measured: Measurement) -> None:
    made = document(measured)["profile"]
    assert made["kernel"]["reference"] == "vendored"
    assert made["case"]["shapes"] == {"q": [1, 1, 32, 256], "k": [1, 1, 32, 600], "v": [1, 1, 600, 32]}
    total = {row["engine"]: row["cycles"] for row in made["engines"]}
    for engine in ("Tensor", "Vector", "Scalar", "GpSimd"):
        assert sum(row["cycles"].get(engine, 0) for row in made["lines"]) == pytest.approx(total[engine])
        assert sum(row["cycles"].get(engine, 0) for row in made["kinds"]) == pytest.approx(total[engine])
    assert sum(row["bytes"] for row in made["dma"]["chunks"]) == made["dma"]["total_bytes"]


def test_ratios_are_of_the_first_to_the_second(measured: Measurement) -> None:
    same = document(measured, measured)["ratios"]
    assert set(same.values()) == {1.0}
    larger = measure(resolve("vendored"), replace(CASE, heads=2, kv_heads=2), "trn1", compute=False)
    ratios = document(larger, measured)["ratios"]
    assert ratios["Tensor cycles"] == ratios["instructions"] == 2.0


def test_ratio_to_nothing_is_left_open(measured: Measurement) -> None:
    full = measure(resolve("vendored"), replace(CASE, use_causal_mask=False), "trn1", compute=False)
    assert document(measured, full)["ratios"]["GpSimd cycles"] is None


def test_timeline_is_thinned_to_its_peaks() -> None:
    timeline = [Sample("k.py", line, line % 100, (7 * line) % 100) for line in range(1000)]
    kept = thinned(timeline, most=10)
    assert len(kept) == 10
    assert {sample.sbuf_bytes for sample in kept} == {99}
    assert {sample.psum_bytes for sample in kept} == {99}
    assert thinned(timeline[:10], most=10) == timeline[:10]
    assert len(thinned(timeline[:11], most=10)) == 10


def test_places_have_the_names_of_reports() -> None:
    assert in_report("/tmp/x.py:12", {"/tmp/x.py": "attention.py"}) == "attention.py:12"
    assert in_report("/tmp/y.py:12", {"/tmp/x.py": "attention.py"}) == "/tmp/y.py:12"
