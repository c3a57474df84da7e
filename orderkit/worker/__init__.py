"""The background: one loop that finds what is due, and tasks that do it."""
