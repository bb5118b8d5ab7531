"""What all reports say alike."""

from __future__ import annotations

from typing import Any


def number(value: float | str | None, form: str) -> str:
    """A number in a format; ``-`` for none, and the word for one without bounds."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else format(value, form)


def share(gap: dict[str, Any] | None) -> str:
    """Share of the elements that differ."""
    return f"{gap['count'] / gap['total']:.2%}" if gap and gap["total"] else "-"


def did(side: dict[str, Any]) -> str:
    """What a kernel did, in a line."""
    if side["crash"]:
        line = f" (line {side['crash']['line']})" if side["crash"]["line"] else ""
        return str(side["crash"]["words"]).splitlines()[0] + line
    if side["fault"]:
        return str(side["fault"])
    if side["error"] is None:
        return "answered"
    poisoned = f", {side['poisoned_rows']} rows poisoned by a key they do not see" if side["poisoned_rows"] else ""
    return f"{'right' if side['right'] else 'wrong'}, error {number(side['error'], '.1e')}{poisoned}"


def by_weight(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cases that fail, then those that decide nothing, then the rest."""
    order = ("fails", "open", "holds")
    return sorted(cases, key=lambda case: order.index(case["meaning"]))
