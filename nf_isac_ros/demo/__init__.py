"""The `nf-isac demo` command: starts the graph, watches it, and sums up what it did."""
