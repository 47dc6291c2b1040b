"""What is said of the processor, and whether it multiplies in bfloat16."""

import pytest

from cli import processor


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    """Let nothing in the surroundings forbid instructions."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)


@pytest.mark.parametrize(
    ("flags", "fast", "said"),
    [
        ("fpu avx512f avx512_bf16", True, "CPU 9; AVX-512 BF16: yes; AMX: no"),
        ("fpu amx_bf16", True, "CPU 9; AVX-512 BF16: no; AMX: yes"),
        ("fpu avx2 avx512f", False, "CPU 9; AVX-512 BF16: no; AMX: no"),
    ],
)
def test_bfloat16_is_told_by_the_processors_flags(flags, fast, said, monkeypatch):
    monkeypatch.setattr(processor, "_fields", lambda: {"model name": "CPU 9", "flags": flags})
    assert processor.multiplies_bfloat16() is fast
    assert processor.describe() == said


def test_where_linux_says_nothing_bfloat16_is_slow(monkeypatch):
    monkeypatch.setattr(processor, "_fields", dict)
    assert processor.multiplies_bfloat16() is False
    assert processor.describe().endswith("; AVX-512 BF16: unknown; AMX: unknown")


@pytest.mark.parametrize(
    ("flags", "limit", "fast", "kind"),
    [
        ("avx2 avx512f avx512_bf16 amx_bf16", "", True, "AMX"),
        ("avx2 avx512f avx512_bf16 amx_bf16", "all", True, "AMX"),
        (
            *("avx2 avx512f avx512_bf16 amx_bf16", "AVX512_CORE_BF16", True),
            "AVX-512 BF16 (ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16)",
        ),
        (
            *("avx2 avx512f amx_bf16", "avx512_core", False),
            "AVX-512 (ONEDNN_MAX_CPU_ISA=avx512_core)",
        ),
        ("avx2 avx512f avx512_bf16", "AVX2", False, "AVX2 (ONEDNN_MAX_CPU_ISA=AVX2)"),
        ("avx2 avx512f", "", False, "AVX-512"),
        ("avx2", "", False, "AVX2"),
        ("sse4_2", "", False, "below AVX2"),
        ("", "", False, "unknown"),
    ],
)
def test_the_class_is_that_of_the_flags_and_of_what_onednn_may_use(
    flags, limit, fast, kind, monkeypatch
):
    monkeypatch.setattr(processor, "_fields", lambda: {"flags": flags} if flags else {})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert processor.multiplies_bfloat16() is fast
    assert processor.instruction_class() == kind
    assert ("AVX-512 BF16: yes" in processor.describe()) == (fast and "avx512_bf16" in flags)
