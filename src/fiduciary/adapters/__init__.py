"""Doors to other libraries: their users train on our environments, and their models fill our policy slot."""
