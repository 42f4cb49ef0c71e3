"""The command line: one command a file, each of which parses, calls and prints. Nothing is decided here.

A command's file is loaded when the command is used or described; it loads what is slow (a server, rich) when it runs.
"""
