"""Event handlers: small Wasm modules that samples pass through in batches, between their buffer and their decoding."""
