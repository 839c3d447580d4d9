/* Reading numbers from a sample. */
#pragma once

#include "program.h"
#include "types.h"

/* A number that touches 8 bytes or less; if it is signed, with its sign in all 64 bits. May read behind its end. */
INLINE u64 read(const u8 *base, const struct place *place, bool is_big_endian)
{
	u64 value = load64(base + place->offset);

	if (is_big_endian)
		value = __builtin_bswap64(value);
	value <<= place->up & 63;
	return place->is_signed ? (u64)((s64)value >> (place->down & 63)) : value >> (place->down & 63);
}

/* A number of more bits, 128 at most, which touches up to 17 bytes. */
COLD u128 read_wide(const u8 *at, const struct place *place, bool is_big_endian)
{
	u8 bytes[24] = {0};
	u32 size = place->size, shift = place->shift, bits = place->bits;

	for (u32 i = 0; i < size; i++)
		bytes[i] = at[place->offset + (is_big_endian ? size - 1 - i : i)];
	u64 low = load64(bytes), high = load64(bytes + 8);
	if (shift) {
		low = low >> shift | high << (64 - shift);
		high = high >> shift | (u64)bytes[16] << (64 - shift);
	}
	if (bits <= 64) { /* more than 56, or it would not touch so many bytes */
		low <<= 64 - bits;
		low = place->is_signed ? (u64)((s64)low >> (64 - bits)) : low >> (64 - bits);
		high = place->is_signed ? (u64)((s64)low >> 63) : 0;
	} else {
		high <<= 128 - bits;
		high = place->is_signed ? (u64)((s64)high >> (128 - bits)) : high >> (128 - bits);
	}
	return (u128)high << 64 | low;
}

/* Any number of 64 bits or less. */
INLINE u64 read_64(const u8 *base, const struct place *place, bool is_big_endian)
{
	return LIKELY(place->size <= 8) ? read(base, place, is_big_endian) : (u64)read_wide(base, place, is_big_endian);
}

/* Any number, to 128 bits. */
INLINE u128 read_any(const u8 *base, const struct place *place, bool is_big_endian)
{
	if (place->size > 8)
		return read_wide(base, place, is_big_endian);
	u64 value = read(base, place, is_big_endian);
	return (u128)(place->is_signed ? (u64)((s64)value >> 63) : 0) << 64 | value;
}

INLINE double as_double(u64 value, u32 bits)
{
	double real;

	if (bits == 32) {
		u32 half = (u32)value;
		float single;
		__builtin_memcpy(&single, &half, 4);
		return single;
	}
	__builtin_memcpy(&real, &value, 8);
	return real;
}
