"""The core decides everything and touches nothing: no I/O, no clock, no chance, no user code."""
