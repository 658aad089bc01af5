"""Figures of both papers, made anew: one module per figure, one panel per picture."""
