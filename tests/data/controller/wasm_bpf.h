// SPDX-License-Identifier: MIT
// The functions of wasm-bpf, as a guest in C imports them.
#pragma once
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("wasm_bpf"), import_name(#name))) extern

typedef int (*sample_function)(void *context, void *data, uint32_t size);

IMPORT(wasm_load_bpf_object) uint64_t wasm_load_bpf_object(const void *object, int size);
IMPORT(wasm_close_bpf_object) int wasm_close_bpf_object(uint64_t object);
IMPORT(wasm_attach_bpf_program) int wasm_attach_bpf_program(uint64_t object, const char *name, const char *target);
IMPORT(wasm_bpf_map_fd_by_name) int wasm_bpf_map_fd_by_name(uint64_t object, const char *name);
IMPORT(wasm_bpf_map_operate)
int wasm_bpf_map_operate(int fd, int command, void *key, void *value, void *next_key, uint64_t flags);
IMPORT(wasm_bpf_buffer_poll)
int wasm_bpf_buffer_poll(uint64_t object, int fd, sample_function function, void *context, void *data, int max_size,
			 int timeout_ms);

enum { LOOKUP = 1, UPDATE, DELETE, NEXT_KEY };
