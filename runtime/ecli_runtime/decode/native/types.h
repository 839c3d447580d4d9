/* Types and memory access that all parts share. Freestanding: there is no C library. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef __int128 s128;
typedef unsigned __int128 u128;

#define INLINE static inline __attribute__((always_inline))
#define COLD static __attribute__((noinline, cold))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)

INLINE u32 load32(const u8 *at)
{
	u32 value;
	__builtin_memcpy(&value, at, 4);
	return value;
}

INLINE u64 load64(const u8 *at)
{
	u64 value;
	__builtin_memcpy(&value, at, 8);
	return value;
}

INLINE void store64(u8 *at, u64 value)
{
	__builtin_memcpy(at, &value, 8);
}

/*
 * Copy, 16 bytes at a time: reads and writes up to 15 bytes behind the end. Whoever gives memory to this module leaves
 * that much room behind each piece of it.
 */
INLINE u8 *put(u8 *out, const u8 *text, u32 size)
{
	wasm_v128_store(out, wasm_v128_load(text));
	for (u32 at = 16; at < size; at += 16)
		wasm_v128_store(out + at, wasm_v128_load(text + at));
	return out + size;
}
