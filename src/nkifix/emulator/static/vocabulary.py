"""What the names in a module's source mean: which are functions of the language, whatever they were imported as.

Source of the names: ``nki.language`` and ``nki.isa`` references, Neuron SDK 2.26.
"""

from __future__ import annotations

import ast

LANGUAGE = "language"
ISA = "isa"
TYPING = "typing"

DEVICE_RANGES = frozenset({"affine_range", "sequential_range"})
KERNEL_DECORATORS = frozenset({"jit", "trace", "baremetal", "benchmark", "profile", "simulate_kernel"})

_NO_TENSORS = frozenset(
    {
        *("affine_range", "sequential_range", "static_range", "arange", "mgrid", "ds", "par_dim", "nc", "spmd_dim"),
        *("program_id", "num_programs", "program_ndim", "store", "device_print", "random_seed", "atomic_rmw"),
        *("get_nc_version", "dma_copy", "static_cast", "tile_size", "fp32", "sizeinbytes", "scalar"),
    }
)
"""Functions of the language whose result is no tensor."""
CREATORS = frozenset({"ndarray", "zeros", "ones", "full", "rand", "empty_like", "zeros_like", "shared_constant"})
"""Functions that allocate; the first argument of most is a shape."""


class Vocabulary:
    """The imports of one module.

    Attributes
    ----------
    constants:
        Whole numbers that the module's own statements give a name, each once.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._modules: dict[str, str] = {}
        self._names: dict[str, tuple[str, str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._import(alias.name, alias.asname)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self._import_from(node.module, alias.name, alias.asname or alias.name)
        self.constants = constants_of(tree.body)

    def _import(self, name: str, asname: str | None) -> None:
        chapter = _chapter(name)
        if chapter is not None:
            self._modules[asname or name] = chapter
        if _is_root(name) and asname is None and chapter is None:
            self._modules[name] = "nki" if name.endswith("nki") else ""

    def _import_from(self, module: str, name: str, asname: str) -> None:
        chapter = _chapter(f"{module}.{name}")
        if chapter is not None:
            self._modules[asname] = chapter
        elif (home := _chapter(module)) is not None:
            self._names[asname] = (home, name)

    def meaning(self, node: ast.expr) -> tuple[str, str] | None:
        """Chapter and name of the function of the language that ``node`` refers to, if it does."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            chapter = self._modules.get(ast.unparse(node.value))
            if chapter is not None:
                return chapter, node.attr
            return _dotted(ast.unparse(node)) if _is_root(ast.unparse(node).split(".")[0]) else None
        return None

    def makes_tensor(self, node: ast.expr) -> bool:
        """Whether calling ``node`` gives a tensor."""
        meaning = self.meaning(node)
        if meaning is None or meaning[0] not in (LANGUAGE, ISA):
            return False
        return meaning[1] not in _NO_TENSORS and meaning[1].islower()

    def is_function(self, node: ast.expr, names: frozenset[str], chapter: str = LANGUAGE) -> bool:
        """Whether ``node`` refers to one of these functions of a chapter."""
        meaning = self.meaning(node)
        return meaning is not None and meaning[0] == chapter and meaning[1] in names


def _is_root(name: str) -> bool:
    return name.split(".")[0] in ("neuronxcc", "nki")


def _dotted(path: str) -> tuple[str, str] | None:
    module, _, name = path.rpartition(".")
    chapter = _chapter(module)
    return None if chapter is None else (chapter, name)


def _chapter(module: str) -> str | None:
    """``language`` for ``neuronxcc.nki.language`` and ``nki.language``, "nki" for the package itself."""
    parts = module.split(".")
    if parts[0] == "neuronxcc":
        parts = parts[1:]
    if not parts or parts[0] != "nki" or len(parts) > 2:
        return None
    return parts[1] if len(parts) == 2 else "nki"


def constants_of(body: list[ast.stmt]) -> dict[str, int]:
    """Names that ``body`` binds to a whole number, and only once."""
    seen: dict[str, int | None] = {}
    for node in body:
        if isinstance(node, ast.Assign):
            value = node.value
            number = value.value if isinstance(value, ast.Constant) and type(value.value) is int else None
            for target in node.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        seen[name.id] = None if name.id in seen or name is not target else number
    return {name: number for name, number in seen.items() if number is not None}
