"""The loop, and the adapters that let connections, timers, steps, sources and errands reach it."""
