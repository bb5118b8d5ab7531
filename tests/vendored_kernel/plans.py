"""How the kernel plans a case."""

from __future__ import annotations

from nkifix.differential.cases import Case
from vendored_kernel.config import FlashConfig, Shapes
from vendored_kernel.plan import Plan, plan_of
from vendored_kernel.schedule import Band, band_of


def band(case: Case) -> Band:
    """The keys that its queries see."""
    left, _ = case.window_size or (-1, -1)
    flag = case.use_causal_mask is not False
    return band_of(flag, left, case.config.get("windowed_context_encoding", False))


def shapes(case: Case) -> Shapes:
    """Its sizes."""
    return Shapes(case.batch, case.heads, case.kv_heads, case.head_dim, case.seq_q, case.seq_k)


def planned(case: Case) -> Plan:
    """What of it is held on chip at once."""
    return plan_of(band(case), shapes(case), 4 if case.mixed_precision is False else 2, FlashConfig(**case.config))
