"""What an installation needs to work, looked at from outside: each thing by itself, with what to do where it is wrong."""
