"""The job on real clusters: Flink and Spark, started on loopback by `make test-engines`."""
