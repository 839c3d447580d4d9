"""The kernel's side: BTF, libbpf, load, attach, read and decode. Only this floor talks to the kernel."""
