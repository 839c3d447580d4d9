/* Reading numbers from a sample. */
#pragma once

#include "types.h"

struct wide {
	u64 low, high;
};

/* Read `size` bytes (17 at most), drop `shift` bits (less than 8) and keep `bits` of the rest, 128 at most. */
static struct wide read_bits(const u8 *at, u32 size, u32 shift, u32 bits, bool is_signed, bool is_big_endian)
{
	u8 bytes[24] = {0};

	for (u32 i = 0; i < size; i++)
		bytes[i] = at[is_big_endian ? size - 1 - i : i];
	struct wide value = {load64(bytes), load64(bytes + 8)};
	if (shift) {
		value.low = value.low >> shift | value.high << (64 - shift);
		value.high = value.high >> shift | (u64)bytes[16] << (64 - shift);
	}
	u64 sign = is_signed ? ~0ull : 0;
	if (bits < 64) {
		u64 mask = (1ull << bits) - 1;
		sign &= -(value.low >> (bits - 1) & 1);
		value.low = (value.low & mask) | (sign & ~mask);
		value.high = sign;
	} else if (bits == 64) {
		value.high = sign & -(value.low >> 63);
	} else if (bits < 128) {
		u64 mask = (1ull << (bits - 64)) - 1;
		sign &= -(value.high >> (bits - 65) & 1);
		value.high = (value.high & mask) | (sign & ~mask);
	}
	return value;
}

INLINE bool is_negative(struct wide value, bool is_signed)
{
	return is_signed && (s64)value.high < 0;
}
