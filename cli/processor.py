"""What this machine's processor computes fast."""

# Instructions that multiply matrices of bfloat16.
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def multiplies_bfloat16() -> bool:
    """Return whether bfloat16 is faster than float32 here; else it is emulated, and slower."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = set(next(line for line in file if line.startswith("flags")).split())
    except (OSError, StopIteration):
        return False
    return bool(flags & _BFLOAT16)
