"""A comparison as one page that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nkifix.differential.conditions import BOUND
from nkifix.differential.report.document import Document
from nkifix.differential.report.words import by_weight, did, number, share

TEMPLATE = "comparison.html.j2"
TILE_QUERIES, TILE_KEYS = 128, 512
"""Sides of a tile in mask pictures; the lines of the error map's grid are as many queries apart."""


def page(report: Document) -> str:
    """The page: nothing outside of it is loaded, and what it shows is escaped.

    Its fragment says what is shown: ``#case=3``, ``#only=window``, ``#outcome=fails``, joined by ``&``.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {}  # keep the order of names
    cases = by_weight(report["cases"])
    return environment.get_template(TEMPLATE).render(
        report=report,
        rows=[_row(case) for case in cases],
        drawn=[_drawn(case) for case in cases],
        tile={"queries": TILE_QUERIES, "keys": TILE_KEYS},
    )


def _row(case: dict[str, Any]) -> dict[str, Any]:
    gap = case["differences"] or {}
    return {
        "name": case["name"],
        "words": case["words"],
        "meaning": case["meaning"],
        "cells": {
            "error": number(case["comparison"]["error"], ".1e"),
            "reference": number(case["reference_error"], ".1e"),
            "budget": number(case["comparison"]["budget_spent"], ".0%"),
            "differing": share(case["differences"]),
            "ULP": number(gap.get("largest_ulp"), "d"),
            "time": number(case["cost_ratio"].get(BOUND), ".2f"),
        },
    }


def _drawn(case: dict[str, Any]) -> dict[str, Any]:
    """What the page draws of a case once it is opened."""
    settings = {name: value for name, value in case["settings"].items() if value not in (None, {}, "normal")}
    gap = case["differences"]
    return {
        "facts": {
            "settings": ", ".join(f"{name} {_plain(value)}" for name, value in settings.items()),
            "baseline": did(case["baseline"]),
            "comparison": did(case["comparison"]),
            **({"refusal expected": case["expected_refusal"]} if case["expected_refusal"] else {}),
            **({"reason": case["reason"]} if case["reason"] else {}),
            **({"first difference at": str(tuple(gap["first"]))} if gap and gap["first"] else {}),
        },
        "queries": case["settings"]["seq_q"],
        "keys": case["settings"]["seq_k"],
        "sides": {
            name: {
                "tiles": case[name]["tiles"],
                "error": case[name]["error_map"],
                "busy": (case[name]["cost"] or {}).get("busy_us"),
                "latency": case[name]["latency_us"],
            }
            for name in ("baseline", "comparison")
        },
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    return "yes" if value is True else "no" if value is False else str(value)
