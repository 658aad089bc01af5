"""Ways to solve the designs: one file per solver."""
