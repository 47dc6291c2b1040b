"""Which versions of Beam's job servers, Flink and Spark the job is tried with."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Versions:
    """What belongs together.

    Attributes:
        beam: Version of the job server.
        runner: The artifact of Maven that contains Beam's runner.
        engine: Version of the engine.
    """

    beam: str
    runner: str
    engine: str


# The first that Maven has are taken. A job server understands the pipelines of a newer Beam.
FLINK = (
    Versions("2.77.0", "beam-runners-flink-1.20", "1.20.5"),
    Versions("2.51.0", "beam-runners-flink-1.16", "1.16.3"),
)
SPARK = (
    Versions("2.77.0", "beam-runners-spark-3", "3.5.8"),
    Versions("2.51.0", "beam-runners-spark-3", "3.3.4"),
)
