"""CO-RE: what an object's instructions ask of a kernel's types, and what a kernel answers, without loading anything.

The rules are those of libbpf (``relo_core.c``), which applies them when it loads.
"""
