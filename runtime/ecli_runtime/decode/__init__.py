"""From raw bytes to values: a plan derived from BTF once, and what reads it."""
