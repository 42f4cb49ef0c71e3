"""REST and live pages. Reads the store; writes by putting events into the inbox."""
