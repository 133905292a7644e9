"""Ready desks; one file each."""
