"""The vocabulary of schedulers: what makes build requests."""
