"""How a run is restored for a bundle: in float32, on the CPU, where numbers are the same."""

from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from model.encoder import ENCODERS

FLOAT32 = "float32"
CPU = "/device:CPU:0"  # GPUs round float32 products to fewer bits.


def input_size(run_dir: str) -> int:
    """Return the side of the square that a run's encoder takes, in pixels.

    Args:
        run_dir: The run.

    Raises:
        UserError: There is no run.
    """
    return ENCODERS[RunConfig.read(RunFolder(run_dir)).model.encoder].size
