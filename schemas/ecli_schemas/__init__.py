"""The package format: JSON Schemas, the typed model, canonical JSON, and its errors. Imports nothing of the project."""
