"""Periodic tasks: when they are due, firing each tick once, what became of it."""
