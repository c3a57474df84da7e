"""Who somebody is and what they may do: accounts, passwords, sessions, tokens, roles, API keys."""
