"""Getting samples out of the kernel: ring buffers, perf buffers, maps read periodically."""
