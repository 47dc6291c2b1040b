"""Check records: against their manifest and the contract, and against their source."""
