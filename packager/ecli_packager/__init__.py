"""The author's side: from C to a package. Nothing here depends on the kernel that runs, except where types are taken from."""
