"""Extended targets: contours, what an array sees of them, their Fisher information."""
