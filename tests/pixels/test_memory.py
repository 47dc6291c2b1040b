"""What large images take is given back: a server lives for months."""

import subprocess
import sys

from PIL import Image

from tests.support.commands import ROOT
from tests.support.image_kinds import saved

# Decodes a file in two threads at once, and prints the bytes that the process holds more then.
PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pixels.square import square

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

data = Path(sys.argv[1]).read_bytes()
with ThreadPoolExecutor(2) as pool:
    before = resident()
    print(len(list(pool.map(lambda _: square(data, 32).mean(), range(4)))), resident() - before)
"""


def test_large_images_leave_nothing_in_memory(tmp_path):
    """By itself, the allocator of the C library kept up to three quarters of it."""
    large = saved(Image.new("F", (6000, 6000)), "TIFF", compression="tiff_adobe_deflate")
    (tmp_path / "large.tif").write_bytes(large)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "large.tif")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    images, growth = map(int, done.stdout.split())
    assert images == 4
    assert growth < 150e6  # It was 320 MB.
