"""What is said of the processor, and whether it multiplies in bfloat16."""

import pytest

from cli import processor


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
