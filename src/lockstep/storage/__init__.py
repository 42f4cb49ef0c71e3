"""Facts, rows and logs in SQL behind one small interface, and the state back from them."""
