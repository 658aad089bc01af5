"""Between messages and the core: the only place that knows both."""
