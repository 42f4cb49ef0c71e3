"""Lockstep: a continuous integration server whose heart is locks."""

__version__ = "0.1.0"
