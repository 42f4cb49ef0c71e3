"""Turns a master.cfg into one frozen Config, or into the full list of its mistakes."""
