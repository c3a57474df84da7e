"""Logs, metrics, traces and reports of errors, and what they know of the work under way."""
