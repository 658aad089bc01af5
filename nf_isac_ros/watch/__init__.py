"""A live page for machines without RViz: `nf-isac watch`."""
