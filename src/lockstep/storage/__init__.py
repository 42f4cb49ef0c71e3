"""Facts, rows and logs in SQL behind one small interface, and the state back from them.

`store.py` is the door for whoever writes, `queries.py` for whoever only reads. Nothing here decides anything.
"""
