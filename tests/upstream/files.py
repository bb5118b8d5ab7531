"""The files under test, each a tag of the clone and the target it runs on.

Tests share these very objects: by them pytest knows that tests share a fixture, and loads each file once.
"""

from __future__ import annotations

from tests.upstream_clone import TAGS

TRN1 = tuple((tag, "trn1") for tag in TAGS)
TRN2 = tuple((tag, "trn2") for tag in TAGS)
