"""What this machine's processor is, and what it computes fast."""

import os
import platform

# Instructions that multiply matrices of bfloat16, and what people call them.
_BFLOAT16 = {"avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX"}
# Instruction sets that make a class of processors, from the slowest.
_CLASSES = {"avx2": "AVX2", "avx512f": "AVX-512", **_BFLOAT16}
# The variable of oneDNN, which multiplies TensorFlow's matrices, that forbids later instructions,
# and the last class that each of its values allows. Any other value forbids nothing.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_ALLOWED = {
    **dict.fromkeys(("SSE41", "AVX"), 0),
    **dict.fromkeys(("AVX2", "AVX2_VNNI", "AVX2_VNNI_2"), 1),
    **dict.fromkeys(("AVX512_CORE", "AVX512_CORE_VNNI"), 2),
    **dict.fromkeys(("AVX512_CORE_BF16", "AVX512_CORE_FP16"), 3),
}


def multiplies_bfloat16() -> bool:
    """Return whether bfloat16 is faster than float32 here; else it is emulated, and slower."""
    return not _BFLOAT16.keys().isdisjoint(_usable())


def describe() -> str:
    """Return the model and its bfloat16 units: `AMD EPYC; AVX-512 BF16: yes; AMX: no`."""
    usable, known = _usable(), bool(_fields().get("flags"))
    units = [
        f"{label}: {('yes' if flag in usable else 'no') if known else 'unknown'}"
        for flag, label in _BFLOAT16.items()
    ]
    return "; ".join([model(), *units])


def model() -> str:
    """Return the processor's name: `AMD EPYC`."""
    return _fields().get("model name") or platform.processor() or platform.machine()


def instruction_class() -> str:
    """Return the last instruction set that counts and is used here: `AVX2`, `AVX-512 BF16`.

    Where a variable forbids later ones, it is named: `AVX2 (ONEDNN_MAX_CPU_ISA=AVX2)`.
    """
    usable = _usable()
    names = [label for flag, label in _CLASSES.items() if flag in usable]
    name = names[-1] if names else "below AVX2" if _fields().get("flags") else "unknown"
    limit = os.environ.get(_LIMIT, "")
    return f"{name} ({_LIMIT}={limit})" if limit.upper() in _ALLOWED else name


def _usable() -> set[str]:
    """Return the processor's flags without those that the environment forbids oneDNN to use."""
    allowed = _ALLOWED.get(os.environ.get(_LIMIT, "").upper(), len(_CLASSES))
    return set(_fields().get("flags", "").split()) - set(list(_CLASSES)[allowed:])


def _fields() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}
