"""The vocabulary of steps: what a build does."""
