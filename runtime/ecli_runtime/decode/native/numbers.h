/* Numbers as text. */
#pragma once

#include "types.h"

#define E8 100000000u
#define ZEROS 0x3030303030303030ull

/* The eight decimal digits of a number below 10^8, the first in the lowest byte, as values 0 to 9. */
INLINE u64 digits8(u32 value)
{
	u32 high = value / 10000;
	u64 fours = high | (u64)(value - high * 10000) << 32;
	u64 hundreds = (fours * 10486 >> 20) & 0x0000007f0000007full; /* / 100 */
	u64 twos = ((fours - hundreds * 100) << 16) | hundreds;
	u64 tens = (twos * 103 >> 10) & 0x000f000f000f000full; /* / 10 */

	return ((twos - tens * 10) << 8) | tens;
}

/* How many of eight digits are leading zeros; the last digit counts as none. */
INLINE u32 leading_zeros(u64 digits)
{
	return (u32)__builtin_ctzll(digits | 1ull << 56) >> 3;
}

INLINE u8 *put_blanks(u8 *out, int count)
{
	for (int at = 0; at < count; at += 16)
		wasm_v128_store(out + at, wasm_i8x16_splat(' '));
	return count > 0 ? out + count : out;
}

/* The first eight digits of a number or fewer, with blanks and the sign before them; `behind` digits will follow. */
INLINE u8 *put_first8(u8 *out, u32 value, bool is_negative, int behind, u32 width)
{
	u64 digits = digits8(value);
	u32 zeros = leading_zeros(digits);

	out = put_blanks(out, (int)(width - behind - is_negative + zeros - 8));
	*out = '-';
	out += is_negative;
	store64(out, (digits | ZEROS) >> (zeros * 8));
	return out + 8 - zeros;
}

INLINE u8 *put_all8(u8 *out, u32 value)
{
	store64(out, digits8(value) | ZEROS);
	return out + 8;
}

/* The same for numbers of four digits and less. */
INLINE u8 *put_first4(u8 *out, u32 value, bool is_negative, u32 width)
{
	u32 hundreds = value * 5243 >> 19, twos = hundreds | (value - hundreds * 100) << 16;
	u32 tens = (twos * 103 >> 10) & 0x000f000f, digits = (twos - tens * 10) << 8 | tens;
	u32 zeros = (u32)__builtin_ctz(digits | 1 << 24) >> 3;

	out = put_blanks(out, (int)(width - is_negative + zeros - 4));
	*out = '-';
	out += is_negative;
	digits = (digits | 0x30303030) >> (zeros * 8);
	__builtin_memcpy(out, &digits, 4);
	return out + 4 - zeros;
}

/* A number, aligned to the right in so many columns. */
INLINE u8 *put_number(u8 *out, u64 value, bool is_negative, u32 width)
{
	if (value < 10000)
		return put_first4(out, (u32)value, is_negative, width);
	if (LIKELY(value < E8))
		return put_first8(out, (u32)value, is_negative, 0, width);
	u64 high = value / E8;
	u32 low = (u32)(value - high * E8);
	if (LIKELY(high < E8)) {
		out = put_first8(out, (u32)high, is_negative, 8, width);
	} else {
		u64 highest = high / E8;
		out = put_first8(out, (u32)highest, is_negative, 16, width);
		out = put_all8(out, (u32)(high - highest * E8));
	}
	return put_all8(out, low);
}

INLINE u8 *put_u64(u8 *out, u64 value)
{
	return put_number(out, value, false, 0);
}

INLINE u8 *put_s64(u8 *out, s64 value)
{
	return put_number(out, value < 0 ? -(u64)value : (u64)value, value < 0, 0);
}

/* Divide a number of four 32-bit limbs, the lowest first, by 10^9; return the rest. */
INLINE u32 divide_e9(u32 limbs[4])
{
	u64 rest = 0;

	for (int i = 3; i >= 0; i--) {
		u64 part = rest << 32 | limbs[i];
		limbs[i] = (u32)(part / 1000000000);
		rest = part % 1000000000;
	}
	return (u32)rest;
}

COLD u8 *put_u128(u8 *out, u128 value)
{
	u32 limbs[4] = {(u32)value, (u32)(value >> 32), (u32)(value >> 64), (u32)(value >> 96)};
	u32 groups[5];
	int count = 0;

	do
		groups[count++] = divide_e9(limbs);
	while (limbs[0] | limbs[1] | limbs[2] | limbs[3]);
	out = put_u64(out, groups[--count]);
	while (count--) { /* nine digits: one, and eight */
		u32 first = groups[count] / E8;
		*out++ = (u8)('0' + first);
		out = put_all8(out, groups[count] - first * E8);
	}
	return out;
}

static u8 *put_s128(u8 *out, u128 value, bool is_signed)
{
	if (is_signed && (s128)value < 0) {
		*out++ = '-';
		value = -value;
	}
	return (u64)(value >> 64) ? put_u128(out, value) : put_u64(out, (u64)value);
}

INLINE u8 *put_bool(u8 *out, bool value)
{
	store64(out, value ? 0x65757274 : 0x65736c6166);
	return out + 5 - value;
}

INLINE u8 hex_digit(u32 value)
{
	return (u8)(value < 10 ? '0' + value : 'a' + value - 10);
}

/* Exactly `count` hexadecimal digits. */
INLINE u8 *put_hex_digits(u8 *out, u64 value, int count)
{
	for (int shift = count * 4 - 4; shift >= 0; shift -= 4)
		*out++ = hex_digit(value >> shift & 15);
	return out;
}

static u8 *put_hex(u8 *out, u64 low, u64 high)
{
	if (high) {
		out = put_hex_digits(out, high, (67 - __builtin_clzll(high)) / 4);
		return put_hex_digits(out, low, 16);
	}
	return put_hex_digits(out, low, (67 - __builtin_clzll(low | 1)) / 4);
}

INLINE u8 *put_2digits(u8 *out, u32 value)
{
	out[0] = (u8)('0' + value / 10);
	out[1] = (u8)('0' + value % 10);
	return out + 2;
}

/* Both halves of a product of 64-bit numbers. */
INLINE u64 multiply(u64 a, u64 b, u64 *high)
{
	u64 a0 = (u32)a, a1 = a >> 32, b0 = (u32)b, b1 = b >> 32;
	u64 low = a0 * b0, middle = a1 * b0 + (low >> 32);

	/* Or the compiler would see what this does, and call a function of its library, which is not there. */
	__asm__("" : "+r"(middle));
	u64 other = a0 * b1 + (u32)middle;
	*high = a1 * b1 + (middle >> 32) + (other >> 32);
	return other << 32 | (u32)low;
}

INLINE u64 round_to_odd(const u64 power[2], u64 factor)
{
	u64 low_high, high_high;

	multiply(power[0], factor, &low_high);
	u64 high_low = multiply(power[1], factor, &high_high);
	high_low += low_high;
	high_high += high_low < low_high;
	return high_high | (high_low > 1);
}

struct decimal {
	u64 digits;
	int exponent;
};

#define FIRST_POWER (-292)

/*
 * The shortest decimal that reads back as this double: Schubfach (R. Giulietti, "The Schubfach way to render doubles").
 * `powers` are 10^-292 to 10^324 as 128-bit fractions, low half first, rounded up.
 */
static struct decimal shortest(u64 bits, const u64 (*powers)[2])
{
	u64 fraction = bits & 0xfffffffffffffull;
	int field = (int)(bits >> 52 & 0x7ff);
	u64 c = field ? fraction | 1ull << 52 : fraction;
	int q = field ? field - 1075 : -1074;

	if (q <= 0 && q > -53 && !(c & ((1ull << -q) - 1)))
		return (struct decimal){c >> -q, 0};
	bool is_odd = c & 1, is_uneven = fraction == 0 && field > 1;
	int k = (q * 1262611 - (is_uneven ? 524031 : 0)) >> 22;
	int h = q + ((-k * 1741647) >> 19) + 1;
	const u64 *power = powers[-k - FIRST_POWER];
	u64 lower = round_to_odd(power, (4 * c - 2 + is_uneven) << h) + is_odd;
	u64 middle = round_to_odd(power, (4 * c) << h);
	u64 upper = round_to_odd(power, (4 * c + 2) << h) - is_odd;
	u64 s = middle / 4;

	if (s >= 10) {
		u64 tens = s / 10;
		bool below = lower <= 40 * tens, above = 40 * tens + 40 <= upper;
		if (below != above)
			return (struct decimal){tens + above, k + 1};
	}
	bool below = lower <= 4 * s, above = 4 * s + 4 <= upper;
	if (below != above)
		return (struct decimal){s + above, k};
	return (struct decimal){s + (middle > 4 * s + 2 || (middle == 4 * s + 2 && (s & 1))), k};
}

INLINE u8 *put_zeros(u8 *out, int count)
{
	while (count-- > 0)
		*out++ = '0';
	return out;
}

/* As Python's repr writes it. NaN and infinities are null in JSON. */
static u8 *put_double(u8 *out, u64 bits, bool json, const u64 (*powers)[2])
{
	if ((bits >> 52 & 0x7ff) == 0x7ff) {
		if (json)
			return put(out, (const u8 *)"null\0\0\0\0\0\0\0\0\0\0\0", 4);
		if (bits << 12)
			return put(out, (const u8 *)"nan\0\0\0\0\0\0\0\0\0\0\0\0", 3);
		*out = '-';
		return put(out + (bits >> 63), (const u8 *)"inf\0\0\0\0\0\0\0\0\0\0\0\0", 3);
	}
	*out = '-';
	out += bits >> 63;
	if (!(bits << 1))
		return put(out, (const u8 *)"0.0\0\0\0\0\0\0\0\0\0\0\0\0", 3);
	struct decimal decimal = shortest(bits, powers);
	while (decimal.digits % 10 == 0) {
		decimal.digits /= 10;
		decimal.exponent++;
	}
	u8 digits[40];
	int count = (int)(put_u64(digits, decimal.digits) - digits);
	int point = count + decimal.exponent; /* digits before the decimal point */
	if (point > 16 || point <= -4) {
		*out++ = digits[0];
		if (count > 1) {
			*out++ = '.';
			out = put(out, digits + 1, (u32)count - 1);
		}
		int exponent = point - 1;
		*out++ = 'e';
		*out++ = exponent < 0 ? '-' : '+';
		exponent = exponent < 0 ? -exponent : exponent;
		return exponent < 100 ? put_2digits(out, (u32)exponent) : put_u64(out, (u64)exponent);
	}
	if (point <= 0) {
		*out++ = '0';
		*out++ = '.';
		out = put_zeros(out, -point);
		return put(out, digits, (u32)count);
	}
	if (point >= count) {
		out = put_zeros(put(out, digits, (u32)count), point - count);
		*out++ = '.';
		*out++ = '0';
		return out;
	}
	out = put(out, digits, (u32)point);
	*out++ = '.';
	return put(out, digits + point, (u32)(count - point));
}
