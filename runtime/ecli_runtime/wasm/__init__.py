"""Wasm modules: programs that drive eBPF themselves (controllers), and small ones that events pass through (handlers)."""
