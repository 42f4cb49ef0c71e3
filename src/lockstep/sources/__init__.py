"""The vocabulary of change sources: what notices changes."""
