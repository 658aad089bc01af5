"""Point targets: their echoes, where they are by these echoes, and their tracks."""
