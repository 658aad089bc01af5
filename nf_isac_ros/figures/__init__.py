"""Figures of the near-field paper, made anew: one module per figure, one panel per picture."""
