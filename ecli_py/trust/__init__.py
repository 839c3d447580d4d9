"""Who may publish, and what a package may do: keys, signatures, policies and locks."""
