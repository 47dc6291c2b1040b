"""Files of the job, local or in an object store, and the lock of its output directory."""
