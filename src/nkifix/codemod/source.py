"""A Python file as bytes, as text and as a tree, with exact positions from the tree back to the bytes.

The tree only recognises. It is parsed from a view of the text in which every line ends with a line feed and what a form
feed cancels is cut from the start of its line (the parser does not give those back as they were); the view has the
lines of the text, so every position leads back to it. Edits are made on the text and encoded piece by piece; a file
whose unchanged pieces do not encode to the bytes they came from is refused.
"""

from __future__ import annotations

import ast
import bisect
import codecs
import io
import itertools
import re
import tokenize
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import libcst as cst

from nkifix.codemod.tree import Place, Tree
from nkifix.codemod.unsure import UnsureError as UnsureError

_NEWLINE = re.compile(r"\r\n?|\n")
_MAX_BYTES = 1 << 20
_MAX_STATEMENT_TOKENS = 3000
"""Far above any kernel file (20 kB, 100 tokens), far below what exhausts LibCST's stack and so ends the process."""
_CANCELLED_INDENT = re.compile(r"[ \t\f]*\f")


@dataclass(frozen=True, order=True)
class Edit:
    """Replace ``before``, which stands at ``start`` in a source's text, by ``after``."""

    start: int
    before: str
    after: str

    @property
    def end(self) -> int:
        """Position behind the last character replaced."""
        return self.start + len(self.before)


@dataclass(frozen=True)
class Source:
    """A parsed Python file. Positions are characters of :attr:`text`; lines count from 1."""

    data: bytes
    """The file as given."""
    bom: bytes
    """The byte-order mark at its start, or nothing."""
    encoding: str
    text: str
    """The rest of the file, decoded, with its own line endings."""
    module: cst.Module
    tree: Tree
    """The nodes of :attr:`module`, and where they stand."""
    _line_starts: tuple[int, ...]
    _cut: tuple[int, ...]

    @classmethod
    def parse(cls, data: bytes) -> Source:
        """Decode and parse ``data`` without executing it.

        Raises
        ------
        UnsureError
            It is binary, has no usable encoding, or is not Python.
        """
        bom, encoding, text = _decode(data)
        line_starts = (0, *(newline.end() for newline in _NEWLINE.finditer(text)))
        view, cut = _view(text)
        module, tree = _parse(view)
        return cls(data, bom, encoding, text, module, tree, line_starts, cut)

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return where ``node`` starts and ends, without the white space that only surrounds it."""
        start, end = self.tree.places(node)
        return self._offset(start), self._offset(end)

    def line(self, node: cst.CSTNode) -> int:
        """Return the line on which ``node`` starts."""
        return self.tree.places(node)[0].line

    def lines_of(self, edits: Iterable[Edit]) -> tuple[int, ...]:
        """Return the lines that ``edits`` touch, ascending."""
        touched: set[int] = set()
        for edit in edits:
            touched.update(range(self._line_at(edit.start), self._line_at(edit.end) + 1))
        return tuple(sorted(touched))

    def line_start(self, position: int) -> int:
        """Return where the line that holds ``position`` starts."""
        return self._line_starts[self._line_at(position) - 1]

    def newline_near(self, position: int) -> str:
        """Return the line ending at ``position`` or next behind it, else the last one of the file."""
        following = _NEWLINE.search(self.text, position) or _NEWLINE.search(self.text, self._line_starts[-1] - 2)
        return following[0] if following else "\n"

    def splice(self, edits: Iterable[Edit]) -> bytes:
        """Return the file's bytes with ``edits`` made; the same edit asked for twice is made once.

        Raises
        ------
        UnsureError
            Edits overlap or do not fit the text, or the encoding does not give back the bytes that were read.
        """
        ordered = sorted(set(edits))
        for first, second in itertools.pairwise(ordered):
            if second.start < first.end:
                raise UnsureError("two changes want the same characters", self._line_at(second.start))
        old: list[str] = []
        new: list[str] = []
        position = 0
        for edit in ordered:
            if self.text[edit.start : edit.end] != edit.before:
                raise UnsureError("a position in the tree does not lead back to the text", self._line_at(edit.start))
            kept = self.text[position : edit.start]
            old += kept, edit.before
            new += kept, edit.after
            position = edit.end
        tail = self.text[position:]
        if self.bom + self._encode([*old, tail]) != self.data:
            raise UnsureError(f"the encoding {self.encoding} does not give back the bytes that were read")
        return self.bom + self._encode([*new, tail])

    def _encode(self, pieces: Iterable[str]) -> bytes:
        try:
            return b"".join(piece.encode(self.encoding) for piece in pieces)
        except UnicodeError as error:
            raise UnsureError(f"the encoding {self.encoding} cannot write the file back: {error}") from error

    def _offset(self, place: Place) -> int:
        return self._line_starts[place.line - 1] + self._cut[place.line - 1] + place.column

    def _line_at(self, offset: int) -> int:
        return bisect.bisect_right(self._line_starts, offset)


def _decode(data: bytes) -> tuple[bytes, str, str]:
    """Return byte-order mark, encoding and text, by the rules of PEP 263."""
    if len(data) > _MAX_BYTES:
        raise UnsureError(f"no kernel file: it has {len(data):,} bytes, more than {_MAX_BYTES:,}")
    nul = data.find(b"\0")
    if nul >= 0:
        raise UnsureError("a binary file: it holds a NUL byte", _count_lines(data[:nul]))
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    head = io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    try:
        encoding, _ = tokenize.detect_encoding(head.readline)
    except SyntaxError as error:
        raise UnsureError(f"no usable encoding: {error}", 1) from error
    encoding = "utf-8" if bom else encoding
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bom, encoding, data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise UnsureError(f"not {encoding} text: {error.reason}", _count_lines(data[: error.start])) from error
    except (UnicodeError, LookupError) as error:
        raise UnsureError(f"not {encoding} text: {error}", 1) from error


def _count_lines(before: bytes) -> int:
    return len(re.findall(rb"\r\n?|\n", before)) + 1


def _view(text: str) -> tuple[str, tuple[int, ...]]:
    """Return what the parser is given, and how many characters were cut from the start of each line."""
    lines = _NEWLINE.split(text)
    cut = []
    for number, line in enumerate(lines):
        cancelled = _CANCELLED_INDENT.match(line)
        cut.append(cancelled.end() if cancelled else 0)
        lines[number] = line[cut[-1] :]
    return "\n".join(lines), tuple(cut)


def _parse(view: str) -> tuple[cst.Module, Tree]:
    """Return the tree of ``view``, and its nodes.

    Python's own parser goes first, since it refuses what is nested too deeply and says best what is wrong; it makes a
    tree only, nothing is compiled or run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's own escapes and comparisons
            ast.parse(view)
        _refuse_long_statements(view)
        module = cst.parse_module(view)
        tree = Tree(module)
    except SyntaxError as error:
        raise UnsureError(f"it does not parse: {error.msg}", error.lineno) from error
    except cst.ParserSyntaxError as error:
        raise UnsureError("Python takes it, but LibCST does not parse it", error.raw_line) from error
    except (RecursionError, MemoryError) as error:
        raise UnsureError("it is nested too deeply to be read safely") from error
    except (ValueError, tokenize.TokenError) as error:
        raise UnsureError(f"it does not parse: {error}") from error
    if tree.has_repeated_nodes or tree.code != view:
        raise UnsureError("the parser does not give the file back as it was")
    return module, tree


def _refuse_long_statements(view: str) -> None:
    tokens = 0
    for token in tokenize.generate_tokens(io.StringIO(view).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        tokens = 0 if token.type == tokenize.NEWLINE else tokens + 1
        if tokens > _MAX_STATEMENT_TOKENS:
            raise UnsureError(
                f"a statement of more than {_MAX_STATEMENT_TOKENS:,} tokens is too long to be read safely",
                token.start[0],
            )
