"""Running a kernel function over its grid: arguments in, one program after another, results out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from nkifix.emulator import blas, footprint, hosts, kept, machine, numeric, spmd, static, workers
from nkifix.emulator.affine import is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import Launch, Program
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.numeric import Array

MUTABLE = "mutable_tensor"
"""Name of the annotation that lets a kernel write into a parameter."""


def check_grid(grid: Any) -> tuple[int, ...]:
    """A launch grid as a tuple of positive whole numbers."""
    sizes = grid if isinstance(grid, tuple) else (grid,)
    if not all(is_integer(size) and size > 0 for size in sizes):
        raise KernelFault(
            "",
            f"a launch grid is made of positive whole numbers, got {grid!r}",
            next_step="kernel[batch, heads](...)",
        )
    return tuple(size if isinstance(size, spmd.Dimension) else int(size) for size in sizes)


def _refuse_cores(launch: Launch) -> None:
    """Refuse a grid over more physical cores than a launch can have."""
    asked, most = spmd.cores_of(launch.grid), launch.limits.physical_cores_max
    if asked > most and machine.enforces("physical-cores"):
        raise KernelFault(
            "physical-cores",
            f"a launch grid asks for {asked} physical NeuronCores",
            where="the launch grid",
            why=f"a kernel on {launch.params.target} runs on at most {most}",
            next_step="launch with a plain number in place of nl.nc, or run with the target trn2",
        )


def name_of(function: Callable[..., Any]) -> str:
    """A kernel function's name, for messages."""
    return str(getattr(function, "__name__", function))


def _place_of(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else name_of(function)


def run(
    function: Callable[..., Any],
    grid: tuple[int, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tensor_type: type[Tensor],
    *,
    force_automatic: bool = False,
) -> Any:
    """Execute ``function`` once per grid position and return its results as the caller's kind of array.

    Arrays among the arguments become tensors in HBM; everything else is passed as it is. A kernel either
    returns tensors that it allocated in shared HBM, or (the older convention) stores into its parameters
    and returns nothing; numpy arguments are then written in place. ``force_automatic`` makes direct
    allocations automatic ones.

    Raises
    ------
    KernelFault
        Where a rule is broken; an output element that no program wrote is one.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    inputs: dict[str, Storage] = {}
    arrays: list[Any] = []

    code = getattr(inspect.unwrap(function), "__code__", None)
    launch = Launch(machine.params(), grid, code=code, force_automatic=force_automatic)
    _refuse_cores(launch)
    _refuse_source(function, launch)

    def tensors_of(name: str, value: Any) -> Any:
        if not hosts.is_array(value):
            return value
        arrays.append(value)
        inputs[name] = _input(name, hosts.to_numpy(value, name), launch.in_f32)
        return tensor_type._whole(inputs[name])

    for name, value in bound.arguments.items():
        if isinstance(value, tuple) and any(hosts.is_array(item) for item in value):
            bound.arguments[name] = tuple(tensors_of(f"{name}[{i}]", item) for i, item in enumerate(value))
        else:
            bound.arguments[name] = tensors_of(name, value)
    host = hosts.host_of(arrays)

    def execute(position: tuple[int, ...]) -> Any:
        with machine.executing(Program(launch, position, tensor_type=tensor_type)):
            return function(*bound.args, **bound.kwargs)

    with np.errstate(all="ignore"), blas.one_thread(), footprint.launched(launch.limits), kept.lent_to(launch):
        returned = workers.run(launch, list(inputs.values()), [*bound.args, *bound.kwargs.values()], execute)
    written = {name: storage for name, storage in inputs.items() if storage.first_write is not None}
    if returned is None:
        return _write_back(function, written, dict(zip(inputs, arrays, strict=True)))
    _refuse_immutable(function, written, returned)
    return _results(returned, host)


def _refuse_source(function: Callable[..., Any], launch: Launch) -> None:
    """Raise what the source shows before anything runs; see :mod:`nkifix.emulator.static`."""
    for finding in static.check_function(function):
        if launch.params.enforces(finding.rule):
            raise finding.fault()


def _input(name: str, values: Array, in_f32: bool) -> Storage:
    stored = values.view(numeric.element_dtype(values.dtype))
    if in_f32 and values.dtype in numeric.FLOATS:
        stored = numeric.as_f32(stored)
    raw = stored.reshape(-1).view(np.uint8)
    return Storage(
        values.shape,
        values.dtype,
        Space.HBM,
        partition_axis=None,
        name=name,
        raw=raw,
        is_input=True,
        in_f32=in_f32,
    )


def _results(returned: Any, host: hosts.Host) -> Any:
    if isinstance(returned, (tuple, list)):
        return tuple(_result(value, host) for value in returned)
    return _result(returned, host)


def _result(value: Any, host: hosts.Host) -> Any:
    if not isinstance(value, Tensor):
        raise KernelFault(
            "",
            f"a kernel returns tensors, got {type(value).__name__}",
            where="the return statement",
            next_step="return the nl.ndarray(..., buffer=nl.shared_hbm) that it stores into",
        )
    storage = value.storage
    if storage.space is not Space.SHARED_HBM and not storage.is_input:
        raise KernelFault(
            "err_unsupported_memory",
            f"a kernel returned {storage.describe()}, which lives in {storage.space.value}",
            where="the return statement",
            why="only tensors in shared HBM outlive a launch",
            next_step="store it into nl.ndarray(..., buffer=nl.shared_hbm) and return that",
        )
    _refuse_unwritten(storage)
    values, _ = value.read()
    rounded = numeric.cast(values, storage.dtype)  # where elements were kept in float32
    result = np.ascontiguousarray(rounded).reshape(values.shape)
    # A parameter that was returned without a store into it still lies in the caller's memory.
    return host.give_back(result if storage.owns_bytes else result.copy())


def _refuse_unwritten(storage: Storage) -> None:
    if storage.undefined is None:
        return
    missing = np.argwhere(storage.undefined.ids)
    raise KernelFault(
        "err_tensor_output_not_written_to",
        f"{len(missing)} of {storage.size} elements of the output were never written, "
        f"the first at {tuple(int(i) for i in missing[0])}",
        where=storage.describe(),
        why="on a device these elements hold whatever the memory held before",
        next_step="store every element, and launch a grid that covers all of them",
    )


def _write_back(function: Callable[..., Any], written: dict[str, Storage], arrays: dict[str, Any]) -> None:
    """The older convention: results are what the kernel stored into its parameters."""
    if not written:
        raise KernelFault(
            "err_tensor_output_not_written_to",
            f"the kernel {name_of(function)} returned nothing and stored nothing",
            where=_place_of(function),
            next_step="return the tensors that it stores into",
        )
    for name, storage in written.items():
        target = arrays[name]
        if not isinstance(target, np.ndarray):
            raise KernelFault(
                "err_cannot_update_immutable_parameter",
                f"the kernel stores into its parameter {name!r} and returns nothing",
                where=str(storage.first_write),
                why="that older convention writes numpy arrays in place; framework tensors are immutable",
                next_step="allocate the output in nl.shared_hbm and return it, or pass numpy arrays",
            )
        if not target.flags.writeable:
            raise KernelFault(
                "err_cannot_update_immutable_parameter",
                f"the kernel stores into its parameter {name!r}, and that array is read-only",
                where=str(storage.first_write),
                next_step="pass a writable array",
            )
        numeric.copy_cast(target, storage.array())


def _refuse_immutable(function: Callable[..., Any], written: dict[str, Storage], returned: Any) -> None:
    outputs = returned if isinstance(returned, (tuple, list)) else (returned,)
    kept = {id(value.storage) for value in outputs if isinstance(value, Tensor)}
    for name, storage in written.items():
        annotation = inspect.signature(function).parameters[name.split("[")[0]].annotation
        if MUTABLE not in (annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")):
            raise KernelFault(
                "err_cannot_update_immutable_parameter",
                f"the kernel stores into its parameter {name!r}",
                where=str(storage.first_write),
                why="parameters are read-only unless annotated as mutable",
                next_step=f"annotate it ({name}: nt.mutable_tensor) and return it, or store into a new tensor",
            )
        if id(storage) not in kept:
            raise KernelFault(
                "err_mutable_parameter_not_returned",
                f"the kernel stores into its mutable parameter {name!r} but does not return it",
                where=str(storage.first_write),
                next_step=f"return {name}",
            )
