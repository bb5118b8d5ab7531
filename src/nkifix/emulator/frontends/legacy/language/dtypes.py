"""Dtypes of ``nl`` and their constants."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from nkifix.emulator import numeric

__all__ = [
    "bfloat16",
    "bfp16",
    "bool_",
    "finfo",
    "float8_e4m3",
    "float8_e5m2",
    "float16",
    "float32",
    "fp32",
    "int8",
    "int16",
    "int32",
    "tfloat32",
    "uint8",
    "uint16",
    "uint32",
]

bfloat16 = numeric.BF16
bool_ = np.bool_
float16 = np.float16
float32 = np.float32
float8_e4m3 = numeric.E4M3
float8_e5m2 = numeric.E5M2
int8 = np.int8
int16 = np.int16
int32 = np.int32
tfloat32 = numeric.TF32
uint8 = np.uint8
uint16 = np.uint16
uint32 = np.uint32


class fp32:
    """Constants of float32."""

    min: ClassVar[float] = float(np.finfo(np.float32).min)
    """The bit pattern 0xff7fffff: the lowest finite number."""


class bfp16:
    """Constants of bfloat16."""

    min: ClassVar[float] = -math.inf
    """The documented bit pattern 0xff80, which is minus infinity."""


def finfo(dtype: Any) -> Any:
    """Limits of a floating dtype: ``min``, ``max``, ``eps``, ``tiny``, ``bits``, …"""
    stored = numeric.storage_dtype(dtype)
    if stored == numeric.TF32:
        largest = float(np.ldexp(2 - 2.0**-10, 127))
        return SimpleNamespace(bits=32, dtype=stored, eps=2.0**-10, max=largest, min=-largest, tiny=2.0**-126)
    limits_of: Any = ml_dtypes.finfo
    return limits_of(stored)
