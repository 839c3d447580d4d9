"""Controllers: Wasm modules that load, attach and poll eBPF programs by the six functions of wasm-bpf."""
