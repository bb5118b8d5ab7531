"""The page, as text and in a browser without a window (Debian's package ``chromium``, where it is installed)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nkifix.differential.report.html import page
from tests.differential.report.reports import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DARK = "--blink-settings=preferredColorScheme=0"

needs_browser = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed: apt-get install chromium")


def test_page_stands_alone() -> None:
    text = page(report())
    assert not re.search(r"""(src|href)\s*=|@import|url\(|https?://""", text)


def test_names_are_escaped() -> None:
    text = page(report())
    assert "scale &lt;b&gt;0&lt;/b&gt; | zero" in text
    assert "<b>0" not in text
    assert "&lt;2&gt; in the comparison" in text


def test_verdict_comes_before_the_cases_and_failing_cases_first() -> None:
    text = page(report())
    assert text.index("may not replace") < text.index("<table>")
    rows = re.findall(r'data-meaning="(\w+)"', text)
    assert rows == ["fails", "fails", "holds", "holds"]


def test_run_that_was_broken_off_says_so() -> None:
    text = page(report(complete=False))
    assert "cannot say" in text
    assert "The run was broken off" in text


def browse(tmp_path: Path, script: str, *flags: str, width: int = 1400, fragment: str = "") -> str:
    """The page after a script did what a reader does; no message of the browser's console may come.

    It stands in a frame of the width, because a browser's window has a least one, and is handed out of it.
    """
    file, frame = tmp_path / "report.html", tmp_path / "frame.html"
    body = f"<script>{script}\n{MEASURE}</script></body>"
    file.write_text(page(report()).replace("</body>", body), encoding="utf-8")
    frame.write_text(FRAME.format(source=file.as_uri() + fragment, width=width), encoding="utf-8")
    command = [
        str(BROWSER),
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1500,1200",
        *flags,
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    return done.stdout


MEASURE = """
Object.assign(document.body.dataset, {
  content: document.documentElement.scrollWidth,
  window: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor
});
parent.postMessage(document.body.outerHTML, "*");
"""
FRAME = """\
<!doctype html>
<script>onmessage = (event) => {{ document.body.innerHTML = "<div></div>"; document.body.firstChild.innerHTML =
  event.data.replace("<body", "<main"); }};</script>
<iframe src="{source}" style="border: 0; width: {width}px; height: 1000px"></iframe>
"""


def measured(dom: str, name: str) -> str:
    """What the script above measured."""
    match = re.search(rf' data-{name}="([^"]*)"', dom)
    assert match
    return match[1]


USE = """
const say = (node, value, event) => { node.value = value; node.dispatchEvent(new Event(event)); };
say(document.getElementById("only"), "scale", "input");
document.querySelector("tr.case:not([hidden]) button").click();
"""


@needs_browser
@pytest.mark.parametrize("flags", [pytest.param((), id="light"), pytest.param((DARK,), id="dark")])
@pytest.mark.parametrize("width", [400, 1400])
def test_page_is_used_in_a_browser(tmp_path: Path, width: int, flags: tuple[str, ...]) -> None:
    dom = browse(tmp_path, USE, *flags, width=width)
    assert '<span id="shown">1</span>' in dom
    assert dom.count('<tr class="detail">') == 1
    assert len(re.findall(r'<svg viewBox="0 0 \d', dom)) == 4  # mask and error map of each kernel
    assert 'class="gridline"' in dom
    assert "of-baseline" in dom
    assert "of-comparison" in dom
    assert int(measured(dom, "window")) == width
    assert int(measured(dom, "content")) <= width  # nothing to scroll sideways
    assert (measured(dom, "paper") == "rgb(255, 255, 255)") == (DARK not in flags)


@needs_browser
def test_fragment_says_what_is_shown(tmp_path: Path) -> None:
    dom = browse(tmp_path, "", fragment="#outcome=fails&case=0&case=3")
    assert '<span id="shown">2</span>' in dom
    assert dom.count('<tr class="detail">') == 1  # case 3 is filtered out


@needs_browser
def test_filter_without_a_match_says_so(tmp_path: Path) -> None:
    dom = browse(tmp_path, "", fragment="#only=no+such+case")
    assert '<p class="nothing" id="nothing">' in dom


@needs_browser
def test_message_of_the_console_would_be_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="CONSOLE"):
        browse(tmp_path, "undefined_function();")
