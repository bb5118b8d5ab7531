"""Reading a case from one word: the name of a case of the matrix, or ``seq=8192,heads=8,window=1023``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, get_args

from nkifix.differential.cases import Case, DtypeName
from nkifix.differential.matrix import CASES
from nkifix.errors import RefusalError

DEFAULT = "seq=4096,d=128"
"""One head of a causal prefill."""


def read_case(text: str) -> Case:
    """The case that ``text`` names, or describes by settings.

    What is not set is one batch entry, one head of 128, 4096 queries and as many keys, bfloat16, causal.

    Raises
    ------
    RefusalError
        No case has that name; or there is no such setting, or it does not take that value.
    """
    named = {case.name: case for case in CASES}
    if text in named:
        return named[text]
    if "=" not in text:
        close = difflib.get_close_matches(text, named, n=3)
        raise RefusalError(
            f"there is no case {text!r}",
            next_step="close ones are: " + "; ".join(close) if close else f"describe it: --case {DEFAULT}",
        )
    parts = (setting.partition("=") for setting in text.split(","))
    return case_from_settings(text, {name.strip(): value.strip() for name, _, value in parts})


def case_from_settings(title: str, settings: Mapping[str, str]) -> Case:
    """The case that settings describe, by their words; see :func:`read_case`.

    Raises
    ------
    RefusalError
        There is no such setting, or it does not take that value.
    """
    given: dict[str, Any] = {"head_dim": 128, "seq_q": 4096, "seq_k": 4096}
    config: dict[str, Any] = {}
    for name, value in settings.items():
        fields, in_config = _read(name, value)
        (config if in_config else given).update(fields)
    given.setdefault("kv_heads", given.get("heads", 1))
    return Case(name=title, config=config, **given)


def _read(name: str, value: str) -> tuple[dict[str, Any], bool]:
    """One setting as fields of a case, or of its config."""
    if name not in _SETTINGS:
        raise RefusalError(f"a case has no setting {name!r}", next_step=f"choose among: {', '.join(_SETTINGS)}")
    fields, reader, in_config = _SETTINGS[name]
    try:
        read = reader(value)
    except (ValueError, KeyError):
        raise RefusalError(f"{name}={value!r} cannot be read", next_step=f"{name} takes {_TAKES[reader]}") from None
    return dict.fromkeys(fields, read), in_config


def _size(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError(value)
    return number


def _window(value: str) -> tuple[int, int]:
    return int(value), -1


def _flag(value: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[value.lower()]


def _dtype(value: str) -> str:
    if value not in get_args(DtypeName):
        raise ValueError(value)
    return value


_SETTINGS: dict[str, tuple[tuple[str, ...], Callable[[str], Any], bool]] = {
    "seq": (("seq_q", "seq_k"), _size, False),
    "seq_q": (("seq_q",), _size, False),
    "seq_k": (("seq_k",), _size, False),
    "batch": (("batch",), _size, False),
    "heads": (("heads",), _size, False),
    "kv_heads": (("kv_heads",), _size, False),
    "d": (("head_dim",), _size, False),
    "window": (("window_size",), _window, False),
    "causal": (("use_causal_mask",), _flag, False),
    "dtype": (("dtype",), _dtype, False),
    "scale": (("softmax_scale",), float, False),
    "mixed": (("mixed_precision",), _flag, False),
    "tile": (("seq_tile_size",), _size, True),
    "core": (("attn_core_tile_size",), _size, True),
    "transposed_v": (("should_transpose_v",), _flag, True),
    "windowed_context": (("windowed_context_encoding",), _flag, True),
}
"""Setting -> fields it sets, how it is read, and whether they are fields of the config."""

_TAKES: dict[Callable[[str], Any], str] = {
    _size: "a whole number from 1 on",
    _window: "a whole number: how many keys before the query's own it sees; negative for no window",
    _flag: "1 or 0",
    _dtype: ", ".join(get_args(DtypeName)),
    float: "a number",
}
