"""Load on a stack of its own, on the loopback, for a bounded time. See README.md."""
