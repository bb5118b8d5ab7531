"""Warning of inputs for which the Scalar Engine's functions are documented to be invalid."""

from __future__ import annotations

from nkifix.emulator import functions
from nkifix.emulator.affine import Mask
from nkifix.emulator.machine import program
from nkifix.emulator.numeric import Array
from nkifix.emulator.undefined import Undefined


def warn_of_invalid_input(name: str, x: Array, undefined: Undefined | None, kept: Mask) -> None:
    """Warn where defined inputs of an activation function, which its mask keeps, lie outside of its valid range."""
    valid = functions.VALID_INPUTS.get(name)
    if valid is None:
        return
    outside = valid.misses(x)
    if undefined is not None:
        outside &= undefined.ids == 0
    if kept is not None:
        outside &= kept
    if outside.any():
        program().warn(
            "activation-range",
            f"{name} of {x[outside][0]}: the Scalar Engine's function is valid {valid.in_words()} only, "
            "elsewhere its results are documented to be invalid; the emulator goes on with the exact function",
        )
