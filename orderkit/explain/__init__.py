"""How the database answers each query that orderkit ships, which index each rides, and what that index is worth and costs."""
