"""Reports of what was sold, from rollups that follow the orders; read by others, written to by the relay alone."""
