"""Names of addresses in processes, and of those in stack traces."""
