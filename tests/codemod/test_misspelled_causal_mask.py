from __future__ import annotations

from pathlib import Path

import pytest

from nkifix import codemod, specimens
from nkifix.codemod import AlreadyFixed, Fixed, NotRecognised
from nkifix.codemod.source import Source

ID = "misspelled-causal-mask"
SPECIMENS = Path(__file__).parent.parent / "specimens"
PLAIN = (SPECIMENS / "typo_plain_branch.py").read_bytes()

ASSIGNMENT = b"casual_mask = True  # noqa: F841"
COMMENT = b"# casual mask\n"


def fix(data: bytes) -> codemod.Outcome:
    return codemod.apply(data, codemod.select(only=[ID]))


def lines_holding(data: bytes, *texts: bytes) -> tuple[int, ...]:
    return tuple(number for number, line in enumerate(data.splitlines(), 1) if any(text in line for text in texts))


def check_fixed(before: bytes, *replacements: tuple[bytes, bytes]) -> None:
    """``before`` becomes what the replacements make of it, each used, and is then left alone."""
    after = before
    for old, new in replacements:
        assert old in after
        after = after.replace(old, new)
    outcome = fix(before)
    assert isinstance(outcome, Fixed), outcome
    assert outcome.data == after
    changed = [n for n, (a, b) in enumerate(zip(before.splitlines(), after.splitlines(), strict=True), 1) if a != b]
    assert outcome.lines == tuple(changed)
    assert outcome.fixes == (ID,)
    assert fix(after) == AlreadyFixed((ID,))


def check_refused(before: bytes, reason: str, at: bytes | None = None) -> None:
    """``before`` is not recognised, for a reason, on the only line that holds ``at``."""
    outcome = fix(before)
    assert isinstance(outcome, NotRecognised), outcome
    assert reason in outcome.reason
    assert outcome.fix == ID
    assert (outcome.line,) == (lines_holding(before, at) if at else (None,))


def swap(old: bytes, new: bytes) -> bytes:
    assert PLAIN.count(old) == 1
    return PLAIN.replace(old, new)


# ------------------------------------------------------------------------------------------- what is fixed


@pytest.mark.parametrize("name", ["typo_plain_branch", "typo_nested_branch"])
def test_fixes_name_noqa_and_comment(name: str) -> None:
    before = (SPECIMENS / f"{name}.py").read_bytes()
    check_fixed(before, (ASSIGNMENT, b"causal_mask = True"), (COMMENT, b"# causal mask\n"))


def test_fixes_the_specimen_of_the_demo() -> None:
    before = specimens.path(ID).read_bytes()
    check_fixed(before, (ASSIGNMENT, b"causal_mask = True"), (COMMENT, b"# causal mask\n"))


def test_fixes_reformatted_branch() -> None:
    check_fixed(
        (SPECIMENS / "typo_reformatted.py").read_bytes(),
        (b"(casual_mask) = (True)    # noqa: E501, F841", b"(causal_mask) = (True)    # noqa: E501"),
        (COMMENT, b"# causal mask\n"),
        (b"# Casual mask.", b"# Causal mask."),
    )


@pytest.mark.upstream
def test_fixes_real_file_in_two_lines(upstream_file: tuple[str, bytes]) -> None:
    tag, before = upstream_file
    check_fixed(before, (ASSIGNMENT, b"causal_mask = True"), (COMMENT, b"# causal mask\n"))
    outcome = fix(before)
    assert isinstance(outcome, Fixed)
    assert outcome.lines == {"v0.6.10598": (120, 420), "v0.7.14366": (126, 436)}[tag]


@pytest.mark.upstream
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data.replace(b'@nki.jit(mode="trace")', b"@nki.jit"), id="bare decorators"),
        pytest.param(lambda data: data.replace(b"@nki.jit\n", b"@nki.jit()\n"), id="called decorators"),
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda data: data.replace(b"    ", b"\t"), id="tabs"),
        pytest.param(lambda data: b"\xef\xbb\xbf" + data, id="BOM"),
        pytest.param(lambda data: data.rstrip(b"\n"), id="no final newline"),
        pytest.param(lambda data: b"# coding: latin-1\n# \xfc\xdf\n" + data, id="latin-1"),
    ],
)
def test_fixes_real_file_in_other_forms(upstream_file: tuple[str, bytes], change: object) -> None:
    assert callable(change)
    before = change(upstream_file[1])
    assert before != upstream_file[1]
    check_fixed(before, (ASSIGNMENT, b"causal_mask = True"), (b"# casual mask", b"# causal mask"))


@pytest.mark.parametrize(
    ("comment", "kept"),
    [
        pytest.param(b"  # noqa: F841", b"", id="alone"),
        pytest.param(b"  #noqa:F841", b"", id="tight"),
        pytest.param(b"\t# NOQA : f841  ", b"", id="capitals, tab, trailing spaces"),
        pytest.param(b"  # noqa: F841,", b"", id="trailing comma"),
        pytest.param(b"", b"", id="no comment"),
        pytest.param(b"  # noqa: E501, F841", b"  # noqa: E501", id="other code before"),
        pytest.param(b"  # noqa: F841,E501", b"  # noqa: E501", id="other code behind"),
        pytest.param(b"  # noqa: E501 F841 W291", b"  # noqa: E501 W291", id="other codes around"),
        pytest.param(b"  # noqa: E501", b"  # noqa: E501", id="other code only"),
        pytest.param(b"  # noqa", b"  # noqa", id="blanket"),
        pytest.param(b"  # every tile", b"  # every tile", id="other comment"),
        pytest.param(b"  # every tile  # noqa: F841", b"  # every tile", id="other comment before"),
        pytest.param(b"  # noqa: F841  # every tile", b"  # every tile", id="other comment behind"),
        pytest.param(b"  # noqa: F841 not used yet", b"  # noqa: F841 not used yet", id="words in the directive"),
        pytest.param(b"  # see F841", b"  # see F841", id="code without directive"),
        pytest.param(b" \\\n  # noqa: F841", b" \\\n  # noqa: F841", id="behind a continued line"),
    ],
)
def test_noqa_keeps_what_is_not_its_own(comment: bytes, kept: bytes) -> None:
    old = ASSIGNMENT
    before = swap(old, b"casual_mask = True" + comment)
    check_fixed(before, (b"casual_mask = True" + comment, b"causal_mask = True" + kept), (COMMENT, b"# causal mask\n"))


def test_noqa_stays_where_another_statement_shares_the_line() -> None:
    before = swap(ASSIGNMENT, b"casual_mask = True; near = True  # noqa: F841")
    check_fixed(before, (b"casual_mask =", b"causal_mask ="), (COMMENT, b"# causal mask\n"))


def test_noqa_goes_from_a_branch_on_one_line() -> None:
    before = swap(b"else:\n            " + ASSIGNMENT, b"else: " + ASSIGNMENT)
    check_fixed(before, (ASSIGNMENT, b"causal_mask = True"), (COMMENT, b"# causal mask\n"))


@pytest.mark.parametrize(
    ("comment", "kept"),
    [
        pytest.param(b"# casual mask", b"# causal mask", id="as upstream has it"),
        pytest.param(b"#casual  mask:  ", b"#causal  mask:  ", id="spacing and colon"),
        pytest.param(b"## CASUAL MASK", b"## CAUSAL MASK", id="capitals"),
        pytest.param(b"# causal mask", b"# causal mask", id="right"),
        pytest.param(b"# not casual mask", b"# not casual mask", id="a sentence about it"),
        pytest.param(b"# casual masking", b"# casual masking", id="another word"),
    ],
)
def test_comment_is_changed_only_where_it_names_the_mask(comment: bytes, kept: bytes) -> None:
    before = swap(COMMENT, comment + b"\n")
    replacements = [(ASSIGNMENT, b"causal_mask = True")]
    if comment != kept:
        replacements.append((comment, kept))
    check_fixed(before, *replacements)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"# casual mask\n", id="far from the assignment"),
        pytest.param(b"pred_other = 1  # casual mask\n", id="at another name"),
        pytest.param(b"pred_causal += 1  # casual mask\n", id="at another kind of assignment"),
        pytest.param(b'pred_causal = """\n# casual mask\n"""\n', id="in a string"),
    ],
)
def test_leaves_the_same_words_elsewhere(text: bytes) -> None:
    before = text + b"\n" + PLAIN.replace(COMMENT, b"\n")
    check_fixed(before, (ASSIGNMENT, b"causal_mask = True"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"@nki.jit\n", b"", id="no decorator"),
        pytest.param(b"@nki.jit\n", b'@nki.jit(mode="trace", flags=[])\n', id="decorator with options"),
        pytest.param(b"        if causal_mask:", b"        if wanted(causal_mask=causal_mask):", id="keyword argument"),
        pytest.param(b"        if causal_mask:", b"        if causal_mask and k.casual_mask:", id="attribute"),
    ],
)
def test_fixes_what_does_not_concern_the_branch(old: bytes, new: bytes) -> None:
    check_fixed(swap(old, new), (ASSIGNMENT, b"causal_mask = True"), (COMMENT, b"# causal mask\n"))


def test_fixes_branch_with_more_parts_inside_another_if() -> None:
    start, end = PLAIN.index(b"        if use_causal"), PLAIN.index(b"        if causal_mask:")
    more = b"        elif tile:\n            causal_mask = tile <= 3\n        else:"
    branch = PLAIN[start:end].replace(b"        else:", more).splitlines(keepends=True)
    before = PLAIN[:start] + b"        if tiles:\n    " + b"    ".join(branch) + PLAIN[end:]
    check_fixed(before, (ASSIGNMENT, b"causal_mask = True"), (COMMENT, b"# causal mask\n"))


# ----------------------------------------------------------------------------------- what is fixed already


def test_find_gives_no_edits_for_a_fixed_kernel() -> None:
    (fix_of_the_name,) = codemod.select(only=[ID])
    assert fix_of_the_name.find(Source.parse((SPECIMENS / "fixed_branch.py").read_bytes())) == ()


def test_leaves_fixed_branch_although_a_comment_is_misspelled() -> None:
    assert fix((SPECIMENS / "fixed_branch.py").read_bytes()) == AlreadyFixed((ID,))


def test_leaves_fixed_nested_branch() -> None:
    before = (SPECIMENS / "typo_nested_branch.py").read_bytes()
    assert fix(before.replace(ASSIGNMENT, b"causal_mask = True")) == AlreadyFixed((ID,))


def test_fix_is_idempotent() -> None:
    once = fix(PLAIN)
    assert isinstance(once, Fixed)
    assert fix(once.data) == AlreadyFixed((ID,))


# ---------------------------------------------------------------------------------------- what is refused


def test_refuses_file_without_the_kernel() -> None:
    check_refused((SPECIMENS / "no_kernel.py").read_bytes(), "expected a function flash_fwd, found none")


def test_refuses_empty_file() -> None:
    check_refused(b"", "expected a function flash_fwd, found none")


def test_refuses_two_kernels() -> None:
    check_refused(PLAIN + b"\n\ndef flash_fwd(again):\n    pass\n", "found another", at=b"def flash_fwd(again)")


def test_refuses_name_bound_before_the_branch() -> None:
    before = (SPECIMENS / "other_shape.py").read_bytes()
    check_refused(before, "no assignment to causal_mask outside these branches", at=b"        causal_mask = True")


IF, ELIF, ELSE = b"            causal_mask = tile <= 2\n", b"            causal_mask = tile <= window\n", ASSIGNMENT
READ = b"        if causal_mask:\n"
PLAIN_USE = "in plain assignments and reads only"
ONE_USE = "expected one assignment to casual_mask and no other use of it"


@pytest.mark.parametrize(
    ("old", "new", "reason", "at"),
    [
        pytest.param(
            ASSIGNMENT, b"casual_mask = tile > 0", "expected casual_mask = True", b"casual_mask = tile", id="value"
        ),
        pytest.param(ASSIGNMENT, b"casual_mask = 1", "expected casual_mask = True", b"casual_mask", id="value 1"),
        pytest.param(
            b"        elif window > 0:\n" + ELIF, b"", "expected an elif", b"if use_causal_mask and", id="no elif"
        ),
        pytest.param(
            IF, b"            pass\n", "expected this branch to bind causal_mask", b"if use_causal_mask and", id="if"
        ),
        pytest.param(
            ELIF, b"            pass\n", "expected this branch to bind causal_mask", b"elif window", id="elif"
        ),
        pytest.param(
            ELIF,
            b"            if window > 3:\n    " + ELIF,
            "on every path",
            b"elif window",
            id="elif binds on some paths",
        ),
        pytest.param(
            ELIF,
            b"            if window > 3:\n    " + ELIF + b"            elif tile:\n                pass\n"
            b"            else:\n    " + ELIF,
            "on every path",
            b"elif window > 0",
            id="elif binds on most paths",
        ),
        pytest.param(
            ELIF,
            b"            if window > 3:\n                pass\n            else:\n    " + ELIF,
            "on every path",
            b"elif window > 0",
            id="elif binds in the else only",
        ),
        pytest.param(
            ELIF,
            b"            for causal in tiles:\n    " + ELIF,
            "on every path",
            b"elif window",
            id="elif binds in a loop",
        ),
        pytest.param(
            READ, b"        if tile:\n", "expected causal_mask to be read", b"if use_causal_mask", id="unread"
        ),
        pytest.param(
            ELIF,
            b"            near: bool = tile <= window\n",
            "expected this branch to bind causal_mask",
            b"elif window",
            id="elif binds another name",
        ),
        pytest.param(READ, b"        if casual_mask:\n", ONE_USE, b"if casual_mask", id="misspelled throughout"),
        pytest.param(
            ASSIGNMENT, b"near = casual_mask", ONE_USE, b"near = casual_mask", id="misspelled in a read alone"
        ),
        pytest.param(READ, b"        casual_mask = 1\n" + READ, ONE_USE, b"casual_mask = 1", id="misspelled twice"),
        pytest.param(
            ASSIGNMENT,
            b"casual_mask = True\n            causal_mask = 1",
            "no assignment to causal_mask outside",
            b"causal_mask = 1",
            id="both names in the else",
        ),
        pytest.param(
            READ, b"        causal_mask = 1\n" + READ, "no assignment to causal_mask outside", b"mask = 1", id="behind"
        ),
        pytest.param(
            b"        else:\n            " + ASSIGNMENT,
            b"        casual_mask = True",
            "to be bound in the else of an if",
            b"casual_mask = True",
            id="no else",
        ),
        pytest.param(
            b"else:\n            " + ASSIGNMENT,
            b"else:\n            if tile:\n                " + ASSIGNMENT,
            "to be bound in the else of an if",
            b"casual_mask = True",
            id="deeper in the else",
        ),
        pytest.param(ASSIGNMENT, b"casual_mask = near = True", PLAIN_USE, b"casual_mask", id="two targets"),
        pytest.param(ASSIGNMENT, b"casual_mask, near = 1, 2", PLAIN_USE, b"casual_mask", id="tuple"),
        pytest.param(ASSIGNMENT, b"casual_mask: bool", PLAIN_USE, b"casual_mask", id="annotation only"),
        pytest.param(ASSIGNMENT, b"casual_mask |= True", PLAIN_USE, b"casual_mask", id="augmented"),
        pytest.param(ASSIGNMENT, b"(casual_mask := True)", PLAIN_USE, b"casual_mask", id="walrus"),
        pytest.param(b"use_causal_mask=True,", b"causal_mask=True,", PLAIN_USE, b"def flash_fwd", id="parameter"),
        pytest.param(b"    kept =", b"    global causal_mask\n    kept =", PLAIN_USE, b"global", id="global"),
        pytest.param(READ, b"        del causal_mask\n" + READ, PLAIN_USE, b"del", id="deleted"),
        pytest.param(READ, b"        f = lambda: causal_mask\n" + READ, PLAIN_USE, b"lambda", id="in a lambda"),
        pytest.param(READ, b"        f = [causal_mask for x in y]\n" + READ, PLAIN_USE, b"f =", id="comprehension"),
        pytest.param(
            READ, b"        def causal_mask(): pass\n" + READ, PLAIN_USE, b"def causal_mask", id="name of a function"
        ),
        pytest.param(
            READ, b"        def inner(): return causal_mask\n" + READ, PLAIN_USE, b"def inner", id="inner function"
        ),
        pytest.param(
            READ, b"        match tile:\n            case causal_mask: pass\n" + READ, PLAIN_USE, b"case", id="match"
        ),
        pytest.param(READ, b"        import causal_mask\n" + READ, PLAIN_USE, b"import causal", id="import"),
        pytest.param(
            READ, b"        import causal_mask.x\n" + READ, PLAIN_USE, b"import causal", id="import of a part"
        ),
    ],
)
def test_refuses_branch_of_another_shape(old: bytes, new: bytes, reason: str, at: bytes) -> None:
    check_refused(swap(old, new), reason, at=at)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(IF, IF + b"            near = causal_mask\n", id="inside the branch"),
        pytest.param(b"    for tile in", b"    near = causal_mask\n    for tile in", id="before the branch"),
    ],
)
def test_refuses_name_that_is_read_only(old: bytes, new: bytes) -> None:
    before = swap(READ, b"        if tile:\n").replace(old, new)
    check_refused(before, "expected causal_mask to be read after", at=b"if use_causal_mask and")


def test_refuses_misspelling_in_the_else_of_a_loop() -> None:
    loop = b"        while tile:\n            break\n        else:\n            casual_mask = True\n"
    before = PLAIN.replace(ASSIGNMENT, b"near = True").replace(READ, loop + READ)
    check_refused(before, "to be bound in the else of an if", at=b"casual_mask = True")


def test_refuses_misspelling_directly_in_the_kernel() -> None:
    check_refused(b"def flash_fwd(): casual_mask = True\n", "to be bound in the else of an if", at=b"flash_fwd")


def test_refuses_kernel_with_the_branch_in_an_inner_function() -> None:
    body = PLAIN.partition(b"    for tile")[2].replace(b"\n", b"\n    ")
    before = b"def flash_fwd():\n    def inner():\n        for tile" + body.rstrip() + b"\n"
    outcome = fix(before)
    assert isinstance(outcome, NotRecognised)
    assert PLAIN_USE in outcome.reason


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"def flash_fwd():\n    pass\n", id="no branch"),
        pytest.param(PLAIN.replace(ASSIGNMENT, b"near = True"), id="else binds nothing"),
        pytest.param(PLAIN.replace(ASSIGNMENT, b"causal_mask = tile > 0"), id="else binds another value"),
        pytest.param(
            PLAIN.replace(ASSIGNMENT, b"causal_mask = True").replace(READ, b"        causal_mask = 1\n" + READ),
            id="bound again",
        ),
        pytest.param(
            PLAIN.replace(ASSIGNMENT, b"causal_mask = True").replace(READ, b"        if tile:\n"), id="never read"
        ),
    ],
)
def test_refuses_kernel_with_neither_spelling_in_the_branch(before: bytes) -> None:
    check_refused(before, "expected flash_fwd to have an if / elif / else that binds", at=b"def flash_fwd")
