"""The demo: real processes on a throw-away SQLite, a small crowd of customers, and a verdict read from what is left behind."""
