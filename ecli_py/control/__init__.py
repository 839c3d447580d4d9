"""Runs that are open for control (``run --control``): the socket of each, what serves it, and what asks."""
