from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from nkifix.codemod.near_miss import NearMiss, is_near_miss, near_misses
from tests import upstream_clone

SPECIMENS = Path(__file__).parent.parent / "specimens"


def found(source: str) -> list[tuple[int, str, str, int]]:
    return [(one.line, one.wrong, one.right, one.read_line) for one in near_misses(dedent(source).encode())]


# ---------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        pytest.param("casual_mask", "causal_mask", id="exchanged"),
        pytest.param("causl_mask", "causal_mask", id="too few"),
        pytest.param("causaal_mask", "causal_mask", id="too many"),
        pytest.param("causel_mask", "causal_mask", id="another"),
        pytest.param("causal_masks", "causal_mask", id="at the end"),
        pytest.param("causalmask", "causal_mask", id="underscore too few"),
        pytest.param("caus_al_mask", "causal_mask", id="underscore too many"),
        pytest.param("Mask", "Mazk", id="four letters"),
        pytest.param("_mask_", "_mazk_", id="same frame"),
    ],
)
def test_one_typing_mistake_is_a_near_miss(wrong: str, right: str) -> None:
    assert is_near_miss(wrong, right)
    assert is_near_miss(right, wrong)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("causal_mask", "causal_mask", id="the same"),
        pytest.param("causal_mask", "sliding_mask", id="another word"),
        pytest.param("casula_mask", "causal_mask", id="two mistakes"),
        pytest.param("cauasl_mast", "causal_mask", id="a mistake in each of two words"),
        pytest.param("mask1", "mask2", id="digit exchanged"),
        pytest.param("mask", "mask2", id="digit added"),
        pytest.param("mask12", "mask21", id="digits exchanged"),
        pytest.param("mask1", "maska", id="digit for a letter"),
        pytest.param("x_min", "x_max", id="short words"),
        pytest.param("mas", "mask", id="three letters"),
        pytest.param("weight", "height", id="first letter"),
        pytest.param("_mask", "mask", id="underscore before"),
        pytest.param("mask_", "mask", id="underscore behind"),
        pytest.param("mask_last", "mask", id="a word more"),
        pytest.param("abcdef", "abdcfe", id="exchanged twice"),
        pytest.param("abcdef", "afcdeb", id="exchanged far apart"),
    ],
)
def test_names_that_may_be_meant_are_no_near_miss(one: str, other: str) -> None:
    assert not is_near_miss(one, other)
    assert not is_near_miss(other, one)


# ------------------------------------------------------------------------------------ what is found

MISSPELT = """\
def f(a, b):
    if a:
        mask = 1
    elif b:
        mask = 2
    else:
        maks = 3
    return mask
"""


def test_misspelt_branch_is_found_with_all_that_a_reader_needs() -> None:
    (miss,) = near_misses(MISSPELT.encode())
    assert miss == NearMiss(7, "maks", "mask", 8)
    assert miss.message == (
        "this branch assigns maks, which nothing reads; the other branches bind mask, which line 8 reads"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("    elif b:\n        mask = 2\n", "", id="no elif"),
        pytest.param("maks = 3", "maks: int = 3", id="annotated"),
        pytest.param("maks = 3", "maks, rest = 3, 4", id="in a tuple"),
        pytest.param("maks = 3", "maks = 3\n        maks = 4", id="twice"),
        pytest.param("maks = 3", "with a:\n            maks = 3", id="in a with"),
        pytest.param(
            "maks = 3",
            "b()\n        if b:\n            maks = 3\n        else:\n            maks = 4",
            id="on two paths",
        ),
        pytest.param("mask = 2", "with b as mask:\n            pass", id="bound by with"),
        pytest.param("mask = 2", "with b as (mask, *_):\n            pass", id="bound by with, a tuple"),
        pytest.param("mask = 2", "import mask", id="bound by import"),
        pytest.param("mask = 2", "def mask(): pass", id="bound by def"),
        pytest.param("mask = 2", "[mask, _] = 1, 2", id="bound in a list"),
        pytest.param("mask = 2", "mask: int = 2", id="annotated right"),
        pytest.param("mask = 2", "try:\n            mask = 2\n        except E:\n            mask = 3", id="try"),
        pytest.param("mask = 2", "try:\n            b()\n        finally:\n            mask = 3", id="finally"),
        pytest.param(
            "mask = 2",
            "try:\n            mask = 2\n        except E:\n            raise",
            id="try whose handler leaves",
        ),
        pytest.param(
            "mask = 2",
            "match b:\n            case 1:\n                mask = 2\n            case _:\n                mask = 3",
            id="match",
        ),
        pytest.param("mask = 2", "return 4", id="a branch returns"),
        pytest.param("mask = 2", "raise E", id="a branch raises"),
        pytest.param("mask = 2", "sys.exit()", id="a branch exits"),
        pytest.param("mask = 2", "assert False", id="a branch asserts False"),
        pytest.param("mask = 2", "while True:\n            pass", id="a branch never ends"),
        pytest.param("mask = 2", "with b:\n            return 1", id="a branch leaves a with"),
        pytest.param("mask = 2", "if b:\n            return 1\n        else:\n            raise E", id="leaves on all"),
        pytest.param("return mask", "return [mask for a in b]", id="read in a comprehension"),
        pytest.param("return mask", "return lambda: mask", id="read in a lambda"),
        pytest.param("return mask", "return {mask: a for a in b}", id="read in a dictionary comprehension"),
        pytest.param("return mask", "c = yield a, mask", id="read by a yield"),
        pytest.param("return mask", "c: 'int'\n    return mask", id="read after a declaration"),
        pytest.param("return mask", "c.d, e = mask, a", id="read beside an attribute's assignment"),
        pytest.param(
            "return mask", "def g():\n        import c as d\n        return mask", id="read in a function that imports"
        ),
        pytest.param(
            "return mask",
            "try:\n        b()\n    except E as e:\n        return mask\n    match a:\n"
            "        case [*d, {'k': 1, **r}]:\n            pass",
            id="read in a handler",
        ),
        pytest.param("return mask", "def g():\n        return mask\n    return g", id="read in a function"),
        pytest.param("return mask", "class C:\n        m = mask\n    return C", id="read in a class"),
        pytest.param("return mask", "return f'{mask}'", id="read in an f-string"),
        pytest.param("return mask", "mask += 1", id="read by an augmented assignment"),
        pytest.param("return mask", "a.b += mask", id="read by an augmented assignment to an attribute"),
        pytest.param("return mask", "mask = mask + 1", id="read before it is bound again"),
        pytest.param("return mask", "mask = lambda x=mask: x", id="read by a default"),
        pytest.param("return mask", "if (maske := mask):\n        pass", id="read by a walrus"),
        pytest.param("return mask", "for mask in mask:\n        pass", id="read by a loop's iterable"),
        pytest.param("return mask", "if a:\n        return mask", id="read on one path"),
        pytest.param("def f(a, b)", "async def f(a, b)", id="async"),
    ],
)
def test_misspelt_branch_is_found_in_other_words(old: str, new: str) -> None:
    assert old in MISSPELT
    (miss,) = near_misses(MISSPELT.replace(old, new).encode())
    assert (miss.wrong, miss.right) == ("maks", "mask")


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_any_branch_may_be_the_odd_one(odd: int) -> None:
    names = ["mask", "mask", "mask"]
    names[odd] = "maks"
    one, two, three = names
    source = (
        f"def f(a, b):\n    if a:\n        {one} = 1\n    elif b:\n        {two} = 2\n    else:\n        {three} = 3\n"
    )
    assert found(source + "    return mask\n") == [(3 + 2 * odd, "maks", "mask", 8)]


HEAD = "if a:\n    mask = 1\nelse:\n    maks = 2\n"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(HEAD + "print(mask)\n", id="at the top level"),
        pytest.param("def f():\n" + indent(HEAD, "    ") + "    print(mask)\n", id="in a function"),
        pytest.param("class C:\n    def f():\n" + indent(HEAD, 8 * " ") + "        print(mask)\n", id="in a method"),
        pytest.param("for a in b:\n" + indent(HEAD, "    ") + "    print(mask)\n", id="in a loop"),
        pytest.param("for a in b:\n" + indent(HEAD, "    ") + "else:\n    print(mask)\n", id="read in a loop's else"),
        pytest.param(
            "for a in b:\n" + indent(HEAD, "    ") + "    if a:\n        break\nprint(mask)\n", id="read after the loop"
        ),
        pytest.param(
            "for a in b:\n" + indent(HEAD, "    ") + "    continue\nprint(mask)\n", id="read where continue leads"
        ),
        pytest.param(
            "try:\n" + indent(HEAD, "    ") + "except E:\n    pass\nelse:\n    print(mask)\n", id="try's else"
        ),
        pytest.param("try:\n" + indent(HEAD, "    ") + "finally:\n    print(mask)\n", id="finally"),
        pytest.param("try:\n    c()\nexcept E:\n" + indent(HEAD, "    ") + "print(mask)\n", id="in a handler"),
        pytest.param("match c:\n    case 1:\n" + indent(HEAD, 8 * " ") + "        print(mask)\n", id="in a case"),
        pytest.param("if c:\n" + indent(HEAD, "    ") + "print(mask)\n", id="in an if without else"),
        pytest.param("if c:\n    pass\nelif d:\n" + indent(HEAD, "    ") + "print(mask)\n", id="in an elif"),
        pytest.param("with c:\n" + indent(HEAD, "    ") + "print(mask)\n", id="in a with"),
        pytest.param(
            "for a in b:\n    if c:\n" + indent(HEAD, 8 * " ") + "        break\n    d()\nprint(mask)\n",
            id="read where break leads",
        ),
        pytest.param(
            "if a:\n    mask = 1\nelse:\n    if b:\n        mask = 2\n    else:\n        maks = 3\nprint(mask)\n",
            id="else: if",
        ),
    ],
)
def test_misspelt_branch_is_found_wherever_it_stands(source: str) -> None:
    assert [(wrong, right) for _, wrong, right, _ in found(source)] == [("maks", "mask")]


@pytest.mark.parametrize("name", ["typo_plain_branch", "typo_nested_branch", "typo_reformatted"])
def test_misspelt_branch_of_the_kernel_is_found(name: str) -> None:
    (miss,) = near_misses((SPECIMENS / f"{name}.py").read_bytes())
    assert (miss.wrong, miss.right) == ("casual_mask", "causal_mask")


@pytest.mark.upstream
def test_misspelt_branch_of_the_real_kernel_is_found(upstream_file: tuple[str, bytes]) -> None:
    tag, data = upstream_file
    (miss,) = near_misses(data)
    assert (miss.line, miss.wrong, miss.right) == (
        {"v0.6.10598": 420, "v0.7.14366": 436}[tag],
        "casual_mask",
        "causal_mask",
    )
    assert tag in upstream_clone.TAGS


# ------------------------------------------------------------------------------- what is left alone


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("maks = 3", "mask = 3", id="spelt right"),
        pytest.param("maks = 3", "other = 3", id="another name"),
        pytest.param("maks = 3", "maks = mask = 3", id="both names"),
        pytest.param("maks = 3", "maks = 3\n        if b:\n            mask = 4", id="bound on some path"),
        pytest.param("maks = 3", "maks = 3\n        return maks", id="odd branch leaves"),
        pytest.param("maks = 3", "maks = 3\n        print(maks)", id="read in the branch"),
        pytest.param("maks = 3", "for maks in b:\n            pass", id="bound by a loop"),
        pytest.param("maks = 3", "import maks", id="bound by an import"),
        pytest.param("maks = 3", "maks: int", id="declared only"),
        pytest.param("maks = 3", "self.maks = 3", id="an attribute"),
        pytest.param("maks = 3", "maks[0] = 3", id="an item"),
        pytest.param("return mask", "return mask, maks", id="read afterwards"),
        pytest.param("return mask", "return mask, [maks for x in b]", id="read in a comprehension"),
        pytest.param("return mask", "return mask, lambda: maks", id="read in a lambda"),
        pytest.param("return mask", "maks = 4\n    return mask", id="bound elsewhere too"),
        pytest.param("return mask", "del maks\n    return mask", id="deleted"),
        pytest.param("return mask", "return 5", id="never read"),
        pytest.param("return mask", "return [mask for mask in b]", id="another mask, in a comprehension"),
        pytest.param("return mask", "return lambda mask: mask", id="another mask, in a lambda"),
        pytest.param("return mask", "def g(mask):\n        return mask\n    return g", id="another mask, a parameter"),
        pytest.param("return mask", "mask = 4\n    return mask", id="bound again first"),
        pytest.param("return mask", "for mask in b:\n        print(mask)", id="bound by a loop first"),
        pytest.param("return mask", "return 5\n    return mask", id="read where nothing leads"),
        pytest.param("return mask", "return mask, locals()", id="locals"),
        pytest.param("return mask", "return mask, eval(a)", id="eval"),
        pytest.param("return mask", "print(mask)\n    del mask", id="right name deleted"),
        pytest.param(
            "return mask", "def g():\n        nonlocal mask\n        mask = 2\n    return mask", id="nonlocal"
        ),
        pytest.param(
            "return mask", "def g():\n        nonlocal maks\n        return maks\n    return mask", id="nonlocal 2"
        ),
        pytest.param("return mask", "return [mask := 1 for x in b], mask", id="bound by a walrus in a comprehension"),
        pytest.param("    if a:\n", "    mask = 0\n    if a:\n", id="bound before"),
        pytest.param("    if a:\n", "    global mask\n    if a:\n", id="global"),
        pytest.param("    if a:\n", "    from c import *\n    if a:\n", id="import of everything"),
        pytest.param("def f(a, b)", "def f(a, b, mask)", id="a parameter"),
        pytest.param("def f(a, b)", "def f(a, *mask)", id="a parameter for many"),
        pytest.param("def f(a, b)", "def f(a, b, maks)", id="wrong name a parameter"),
        pytest.param("mask = 2", "pass", id="a second branch without"),
        pytest.param("mask = 2", "mask: int", id="declared in another branch"),
        pytest.param("mask = 2", "for mask in b:\n            pass", id="a loop may be empty"),
        pytest.param("mask = 2", "while b:\n            mask = 2", id="a while may be empty"),
        pytest.param("mask = 2", "while True:\n            break", id="a loop that ends"),
        pytest.param("mask = 2", "if b:\n            mask = 2", id="an if without else"),
        pytest.param(
            "mask = 2", "try:\n            mask = 2\n        except E:\n            pass", id="a handler without"
        ),
        pytest.param(
            "mask = 2", "match b:\n            case 1:\n                mask = 2", id="a match without default"
        ),
        pytest.param("mask = 2", "assert b", id="an assertion that may hold"),
        pytest.param("mask = 2", "b.exit()", id="a call that returns"),
        pytest.param("    else:\n        maks = 3\n", "", id="no else"),
    ],
)
def test_leaves_branches_that_may_be_meant(old: str, new: str) -> None:
    assert old in MISSPELT
    assert near_misses(MISSPELT.replace(old, new, 1).encode()) == ()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            "def f():\n    if a:\n        return 1\n    else:\n        maks = 3\n    return mask\n", id="one left"
        ),
        pytest.param(
            "for a in b:\n" + indent(HEAD, "    ") + "    print(mask)\n    mask = 3\n", id="bound by the loop"
        ),
        pytest.param("while a:\n" + indent(HEAD, "    ") + "    break\n    print(mask)\n", id="behind a break"),
        pytest.param(
            "def f():\n    if a:\n        mask = 1\n    else:\n        maks = 2\ndef g():\n    print(mask)\n",
            id="read in another scope",
        ),
        pytest.param(
            "class C:\n" + indent(HEAD, "    ") + "    print(mask)\n", id="in a class, whose names others read"
        ),
        pytest.param("__all__ = []\n" + HEAD + "print(mask)\n", id="a module with __all__"),
        pytest.param("if c:\n" + indent(HEAD, "    ") + "else:\n    print(mask)\n", id="read in the other branch"),
        pytest.param("try:\n    pass\nfinally:\n" + indent(HEAD, "    "), id="never read, in finally"),
        pytest.param(
            "def f(b):\n    if b:\n        mask = 1\n    elif a:\n        maks = 2\n    else:\n        msak = 3\n"
            "    return mask\n",
            id="two odd branches",
        ),
        pytest.param("maks = 1\n", id="no else in the file"),
    ],
)
def test_leaves_reads_that_the_branch_does_not_reach(source: str) -> None:
    assert found(source) == []


def test_several_are_listed_in_the_order_of_the_file() -> None:
    source = MISSPELT + MISSPELT.replace("maks", "mazk")
    assert [miss.line for miss in near_misses(source.encode())] == [7, 15]


def test_warnings_about_the_file_itself_are_not_passed_on(recwarn: pytest.WarningsRecorder) -> None:
    assert near_misses(b'if a:\n    b = "\\d"\nelse:\n    b = a is 1\n') == ()
    assert not recwarn


@pytest.mark.parametrize("data", [b"if a:\nelse", b"else\0"], ids=["syntax", "nul"])
def test_refuses_what_is_no_python(data: bytes) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        near_misses(data)
