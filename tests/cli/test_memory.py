"""How much memory there is: what Linux, a container and a driver say of it."""

import subprocess

import pytest

from cli import memory


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A function that lets files say these numbers of memory; None: there is no such file."""

    def tell(total: int, free: int, *limits: str | None) -> None:
        meminfo = tmp_path / "meminfo"
        meminfo.write_text(f"MemTotal: {total} kB\nMemAvailable:  {free} kB\n")
        monkeypatch.setattr(memory, "_MEMINFO", str(meminfo))
        paths = []
        for number, limit in enumerate(limits):
            paths.append(tmp_path / f"limit{number}")
            paths[-1].unlink(missing_ok=True)
            if limit is not None:
                paths[-1].write_text(limit)
        monkeypatch.setattr(memory, "_LIMITS", tuple(map(str, paths)))

    return tell


def test_a_containers_limit_counts(told):
    told(1000, 600, "max\n", None)
    assert (memory.total_bytes(), memory.available_bytes()) == (1024_000, 614_400)
    told(1000, 600, "500000\n", None)
    assert (memory.total_bytes(), memory.available_bytes()) == (500_000, 500_000)
    told(1000, 600, None, str(2**63))
    assert memory.total_bytes() == 1024_000


def test_a_system_that_says_nothing_is_no_error(monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", "/nonexistent")
    monkeypatch.setattr(memory, "_LIMITS", ())
    assert memory.total_bytes() is None
    assert memory.available_bytes() is None


@pytest.mark.parametrize(
    ("said", "expected"), [("81559\n24576\n", 24576 << 20), ("[N/A]\n", None), ("", None)]
)
def test_the_smallest_gpu_counts(said, expected, monkeypatch):
    done = subprocess.CompletedProcess((), 0, said, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert memory.gpu_bytes() == expected


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(memory, "_NVIDIA", ("/nonexistent/nvidia-smi",))
    assert memory.gpu_bytes() is None
