"""Annotations of parameters."""

from __future__ import annotations

from nkifix.emulator.frontends.legacy import typing as nt


def test_annotations_may_state_a_shape() -> None:
    assert nt.tensor.__class_getitem__((128, 512)) is nt.tensor
    assert nt.mutable_tensor.__class_getitem__((128, 512)) is nt.mutable_tensor
    assert issubclass(nt.mutable_tensor, nt.tensor)
    assert nt.mutable_tensor.__name__ == "mutable_tensor"
