"""Benchmarks: scenes, peers, measurements, and the table made from them."""
