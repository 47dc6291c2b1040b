"""The contract between the job that writes records and everything that reads them."""
