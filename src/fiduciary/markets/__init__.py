"""How worlds move and what they charge."""
