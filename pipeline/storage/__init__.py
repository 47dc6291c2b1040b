"""Files of the job, wherever they lie."""
