"""Whether a package runs on a kernel, told from a snapshot of that kernel: nothing is loaded, and nothing is booted."""
