"""HTTP: one module for each resource, and the one table from error to status."""
