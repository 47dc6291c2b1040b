"""What this machine's processor is, and what it computes fast."""

import platform

# Instructions that multiply matrices of bfloat16, and what people call them.
_BFLOAT16 = {"avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX"}


def multiplies_bfloat16() -> bool:
    """Return whether bfloat16 is faster than float32 here; else it is emulated, and slower."""
    return not _BFLOAT16.keys().isdisjoint(_fields().get("flags", "").split())


def describe() -> str:
    """Return the model and its bfloat16 units: `AMD EPYC; AVX-512 BF16: yes; AMX: no`."""
    fields = _fields()
    model = fields.get("model name") or platform.processor() or platform.machine()
    features = fields.get("flags", "").split()
    units = [
        f"{label}: {('yes' if flag in features else 'no') if features else 'unknown'}"
        for flag, label in _BFLOAT16.items()
    ]
    return "; ".join([model, *units])


def _fields() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}
