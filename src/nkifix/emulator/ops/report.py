"""Printing a tile from inside a kernel."""

from __future__ import annotations

import sys

import numpy as np

from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.loops import depends_on_more
from nkifix.emulator.machine import program
from nkifix.emulator.numeric import F32, INTEGERS, Array, as_f32
from nkifix.emulator.ops.operand import Scalar, fit_mask, read


def device_print(prefix: object, data: object, *, mask: object = None) -> None:
    """Write ``prefix``, the program's position in the grid and the tile's elements to stdout.

    Nothing where ``mask`` drops every element. Elements that are undefined, or that ``mask`` drops, show as ``?``.
    """
    depends_on_more()
    if not isinstance(prefix, str):
        raise KernelFault("", f"device_print: prefix is a string, got {type(prefix).__name__}")
    if isinstance(data, Scalar):
        text: str = str(data)
    else:
        tensor = operand("device_print", "x", data)
        kept = fit_mask(mask, tensor.shape)
        if kept is False:
            return
        if not program().launch.params.arithmetic:
            return
        values, undefined = read("device_print", "x", tensor, kept)
        text = _table(values, None if undefined is None else undefined.ids == 0, kept)
    position = program().position
    where = f" [program {', '.join(map(str, position))}]" if position else ""
    sys.stdout.write(f"{prefix}{where} {text}\n")


def _table(values: Array, defined: Array | None, kept: Mask) -> str:
    """Elements in numpy's notation."""
    plain = values if values.dtype in INTEGERS or values.dtype == np.bool_ else as_f32(values).astype(F32)
    known = np.ones(values.shape, dtype=bool)
    if defined is not None:
        known &= defined
    if kept is not None:
        known &= kept
    if known.all():
        return np.array2string(plain)
    shown = np.where(known, plain.astype(object), "?")
    return np.array2string(shown, formatter={"all": str})
