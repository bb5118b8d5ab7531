"""The tensor that legacy kernels hold: numpy-like indexing and arithmetic on top of the machine's tensor."""

from __future__ import annotations

from typing import Any, NoReturn

from nkifix.emulator import indexing, numeric, reinterpret, views
from nkifix.emulator.affine import AffineIndex, Predicate
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import F32
from nkifix.emulator.ops import elementwise
from nkifix.emulator.ops.operand import Scalar, assign

_OPERANDS: tuple[type[Any], ...] = (Tensor, *Scalar)


def _binary(name: str, *, swapped: bool = False, dtype: object = None) -> Any:
    def operator(self: LegacyTensor, other: object) -> Any:
        if name == "add" and isinstance(other, AffineIndex):
            return indexing.RuntimeIndex(self, other)
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        first, second = (other, self) if swapped else (self, other)
        return elementwise.binary(name, first, second, dtype=dtype, broadcast_partitions=False)

    return operator


def _in_place(name: str) -> Any:
    def operator(self: LegacyTensor, other: object) -> Any:
        return elementwise.accumulate(self, other) if name == "add" else elementwise.combine_into(name, self, other)

    return operator


def _quotient(*, swapped: bool = False) -> Any:
    """``/``: float32 for two integers, as shipped kernels expect that take the floor of a quotient of indices."""
    of_floats, of_integers = _binary("divide", swapped=swapped), _binary("divide", swapped=swapped, dtype=F32)

    def operator(self: LegacyTensor, other: object) -> Any:
        if not isinstance(other, (Tensor, *Scalar)):
            return NotImplemented
        dtype = other.dtype if isinstance(other, Tensor) else numeric.scalar_dtype(other)
        both = self.dtype in numeric.INTEGERS and dtype in numeric.INTEGERS
        return (of_integers if both else of_floats)(self, other)

    return operator


class LegacyTensor(Tensor):
    """A tile or buffer of a legacy kernel."""

    __slots__ = ()
    __hash__ = Tensor.__hash__

    def __getitem__(self, key: Any) -> Any:
        if type(key) is Predicate:
            return indexing.masked_operand(self, key)
        return indexing.view(self, key)

    def __setitem__(self, key: Any, value: object) -> None:
        assign(indexing.view(self, key), value)

    __add__ = _binary("add")
    __radd__ = _binary("add", swapped=True)
    __iadd__ = _in_place("add")
    __sub__ = _binary("subtract")
    __rsub__ = _binary("subtract", swapped=True)
    __isub__ = _in_place("subtract")
    __mul__ = _binary("multiply")
    __rmul__ = _binary("multiply", swapped=True)
    __imul__ = _in_place("multiply")
    __truediv__ = _quotient()
    __rtruediv__ = _quotient(swapped=True)
    __itruediv__ = _in_place("divide")
    __mod__ = _binary("mod")
    __rmod__ = _binary("mod", swapped=True)
    __imod__ = _in_place("mod")
    __pow__ = _binary("power")
    __rpow__ = _binary("power", swapped=True)
    __ipow__ = _in_place("power")
    __and__ = _binary("bitwise_and")
    __rand__ = _binary("bitwise_and", swapped=True)
    __iand__ = _in_place("bitwise_and")
    __or__ = _binary("bitwise_or")
    __ror__ = _binary("bitwise_or", swapped=True)
    __ior__ = _in_place("bitwise_or")
    __xor__ = _binary("bitwise_xor")
    __rxor__ = _binary("bitwise_xor", swapped=True)
    __ixor__ = _in_place("bitwise_xor")
    __lshift__ = _binary("left_shift")
    __rlshift__ = _binary("left_shift", swapped=True)
    __ilshift__ = _in_place("left_shift")
    __rshift__ = _binary("right_shift")
    __rrshift__ = _binary("right_shift", swapped=True)
    __irshift__ = _in_place("right_shift")

    __eq__ = _binary("equal", dtype=bool)
    __ne__ = _binary("not_equal", dtype=bool)
    __lt__ = _binary("less", dtype=bool)
    __le__ = _binary("less_equal", dtype=bool)
    __gt__ = _binary("greater", dtype=bool)
    __ge__ = _binary("greater_equal", dtype=bool)

    def __neg__(self) -> Any:
        return elementwise.unary("negative", self)

    def __abs__(self) -> Any:
        return elementwise.unary("abs", self)

    def __invert__(self) -> Any:
        return elementwise.invert(self)

    def __floordiv__(self, other: object) -> NoReturn:
        raise KernelFault(
            "",
            "tensors have no floor division",
            why="no engine computes it, and nl has no function for it",
            next_step="nl.floor(nl.divide(x, y))",
        )

    __rfloordiv__ = __ifloordiv__ = __floordiv__

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def assert_shape(self, shape: Any) -> LegacyTensor:
        """The tensor itself, which must have that shape."""
        if self.shape != views.shape_of(shape):
            raise KernelFault("", f"a tensor has shape {self.shape}, not {views.shape_of(shape)} as asserted")
        return self

    def astype(self, dtype: Any) -> Any:
        """A copy in SBUF, cast to ``dtype``."""
        return elementwise.copy(self, dtype=dtype)

    def broadcast_to(self, shape: Any) -> Any:
        """A view that repeats dimensions of extent 1."""
        return views.broadcast(self, shape)

    def expand_dims(self, axis: Any) -> Any:
        """A view with a new dimension of extent 1 at position ``axis``."""
        return views.expand_dims(self, axis)

    def reshape(self, shape: Any) -> Any:
        """A view of the elements, in row-major order, in another shape."""
        return views.reshape(self, shape)

    def view(self, dtype: Any) -> Any:
        """A view of the same bytes as another dtype."""
        return reinterpret.reinterpret(self, dtype)

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
