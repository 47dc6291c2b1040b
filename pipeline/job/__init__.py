"""The chain of the job and its shard writer."""
