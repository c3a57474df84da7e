"""How the installation is: what waits, for how long, and whether the database answers. Reads the domains, never writes."""
