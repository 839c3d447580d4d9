"""libbpf through ctypes: the library, its log, and the objects it makes."""
