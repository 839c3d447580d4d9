"""The author's side of event handlers: the header with the types of a package, and from C to a module."""
