"""The tensor that legacy kernels hold: numpy-like indexing and arithmetic on top of the machine's tensor."""

from __future__ import annotations

from typing import Any, NoReturn

from nkifix.emulator import indexing
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor
from nkifix.emulator.ops import elementwise
from nkifix.emulator.ops.operand import Scalar, assign


def _binary(name: str, *, swapped: bool = False) -> Any:
    def operator(self: LegacyTensor, other: object) -> Any:
        if not isinstance(other, (Tensor, *Scalar)):
            return NotImplemented
        first, second = (other, self) if swapped else (self, other)
        return elementwise.binary(name, first, second, broadcast_partitions=False)

    return operator


def _comparison(symbol: str) -> Any:
    def operator(self: LegacyTensor, other: object) -> Any:
        if not isinstance(other, (Tensor, *Scalar)):
            return NotImplemented
        raise KernelFault(
            "",
            f"tensors cannot be compared with {symbol} here: that is not emulated yet",
            next_step="compare indices (nl.arange, nl.mgrid) and use the result as mask=",
        )

    return operator


class LegacyTensor(Tensor):
    """A tile or buffer of a legacy kernel."""

    __slots__ = ()
    __hash__ = Tensor.__hash__

    def __getitem__(self, key: Any) -> LegacyTensor:
        view = indexing.view(self, key)
        assert isinstance(view, LegacyTensor)
        return view

    def __setitem__(self, key: Any, value: object) -> None:
        assign(indexing.view(self, key), value)

    __add__ = _binary("add")
    __radd__ = _binary("add", swapped=True)
    __sub__ = _binary("subtract")
    __rsub__ = _binary("subtract", swapped=True)
    __mul__ = _binary("multiply")
    __rmul__ = _binary("multiply", swapped=True)
    __truediv__ = _binary("divide")
    __rtruediv__ = _binary("divide", swapped=True)

    __eq__ = _comparison("==")
    __ne__ = _comparison("!=")
    __lt__ = _comparison("<")
    __le__ = _comparison("<=")
    __gt__ = _comparison(">")
    __ge__ = _comparison(">=")

    def __neg__(self) -> Any:
        return elementwise.binary("multiply", self, -1)

    def __iadd__(self, other: object) -> Any:  # type: ignore[misc]
        return elementwise.accumulate(self, other)

    def __bool__(self) -> NoReturn:
        if any(size > 1 for size in self.shape):
            raise KernelFault(
                "err_ambiguous_tensor_truth_value",
                f"a tensor of shape {self.shape} has no single truth value",
                next_step="use nl.where, or a mask made of indices",
            )
        self._no_host_value()

    def __int__(self) -> NoReturn:
        self._no_host_value()

    def __float__(self) -> NoReturn:
        self._no_host_value()

    def __index__(self) -> NoReturn:
        self._no_host_value()

    def _no_host_value(self) -> NoReturn:
        raise KernelFault(
            "err_dynamic_control_flow_not_supported",
            "the value of a tensor cannot steer the kernel",
            why="control flow is resolved when the kernel is compiled, before any tensor has a value",
            next_step="pass the value as a compile-time argument, or compute both sides and select",
        )

    def __iter__(self) -> NoReturn:
        raise KernelFault("", "a tensor cannot be iterated over", next_step="loop with nl.affine_range and index")
