"""Files that hold many images each: tars and Parquet."""
