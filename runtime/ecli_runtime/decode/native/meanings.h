/* Values by their meaning: spans, times, sizes, addresses. The reference is writers.py. */
#pragma once

#include "numbers.h"
#include "types.h"

#define NS_PER_S 1000000000ull
#define S_PER_DAY 86400ull

INLINE u8 *put_unit(u8 *out, u8 first, u8 second)
{
	*out++ = first;
	if (second)
		*out++ = second;
	return out;
}

/* `unit_ns` is 1 or a power of 1000 up to a second. */
static u8 *put_duration(u8 *out, u64 count, u64 unit_ns)
{
	u64 seconds = count / (NS_PER_S / unit_ns);

	if (!count) {
		*out++ = '0';
		return out;
	}
	if (seconds < 60) {
		u64 span_ns = count * unit_ns; /* below 6 * 10^10 */
		if (span_ns < 1000)
			return put_unit(put_u64(out, span_ns), 'n', 's');
		u64 limit_ns = span_ns < 1000000 ? 1000 : span_ns < NS_PER_S ? 1000000 : NS_PER_S;
		u8 first = limit_ns == 1000 ? 'u' : limit_ns == 1000000 ? 'm' : 's', second = limit_ns == NS_PER_S ? 0 : 's';
		if (limit_ns == unit_ns)
			return put_unit(put_u64(out, count), first, second);
		u32 hundredths = (u32)(span_ns * 100 / limit_ns);
		out = put_u64(out, hundredths / 100);
		if (hundredths < 1000) {
			*out++ = '.';
			out = put_2digits(out, hundredths % 100);
		} else if (hundredths < 10000) {
			*out++ = '.';
			*out++ = (u8)('0' + hundredths / 10 % 10);
		}
		return put_unit(out, first, second);
	}
	u64 greater;
	u32 lesser;
	u8 first, second;
	if (seconds < 3600) {
		greater = seconds / 60, lesser = (u32)(seconds % 60), first = 'm', second = 's';
	} else if (seconds < S_PER_DAY) {
		greater = seconds / 3600, lesser = (u32)(seconds % 3600 / 60), first = 'h', second = 'm';
	} else {
		greater = seconds / S_PER_DAY, lesser = (u32)(seconds % S_PER_DAY / 3600), first = 'd', second = 'h';
	}
	out = put_u64(out, greater);
	*out++ = first;
	out = put_2digits(out, lesser);
	*out++ = second;
	return out;
}

/* Time of day of a reading; the unit divides a day, so whole days can go before anything overflows. */
static u8 *put_time(u8 *out, u64 count, bool is_negative, u64 unit_ns, u64 offset_ns)
{
	u64 day_ns = S_PER_DAY * NS_PER_S, day = day_ns / unit_ns;

	if (!count) {
		*out++ = '-';
		return out;
	}
	u64 rest = is_negative ? -count % day : count % day;
	if (is_negative && rest)
		rest = day - rest;
	u64 now_ns = (rest * unit_ns + offset_ns) % day_ns;
	u32 seconds = (u32)(now_ns / NS_PER_S), micros = (u32)(now_ns % NS_PER_S / 1000);
	out = put_2digits(out, seconds / 3600);
	*out++ = ':';
	out = put_2digits(out, seconds / 60 % 60);
	*out++ = ':';
	out = put_2digits(out, seconds % 60);
	store64(out, digits8(micros) | ZEROS); /* two zeros, six digits */
	u64 digits = load64(out);
	*out++ = '.';
	store64(out, digits >> 16);
	return out + 6;
}

/*
 * A size with one decimal. Python divides doubles, so the number is rounded to 53 bits first; divided by powers of two it
 * stays exact, and one decimal is rounded to even.
 */
static u8 *put_size(u8 *out, u64 size)
{
	int exponent = 0, unit = 0;

	if (size < 1024) {
		out = put_u64(out, size);
		*out++ = ' ';
		*out++ = 'B';
		return out;
	}
	if (size >> 53) {
		exponent = 11 - __builtin_clzll(size);
		u64 rest = size & ((1ull << exponent) - 1), half = 1ull << (exponent - 1);
		size >>= exponent;
		size += rest > half || (rest == half && (size & 1));
	}
	int shift;
	do
		shift = ++unit * 10 - exponent;
	while (unit < 5 && (shift < 0 || size >= 1000ull << shift));
	u64 tenths = size * 10 >> shift, rest = size * 10 & ((1ull << shift) - 1), half = 1ull << (shift - 1);
	tenths += rest > half || (rest == half && (tenths & 1));
	out = put_u64(out, tenths / 10);
	if (tenths % 10) {
		*out++ = '.';
		*out++ = (u8)('0' + tenths % 10);
	}
	*out++ = ' ';
	*out++ = (u8) "KMGTP"[unit - 1];
	*out++ = 'i';
	*out++ = 'B';
	return out;
}

static u8 *put_ipv4(u8 *out, const u8 *at)
{
	for (int i = 0; i < 4; i++) {
		out = put_first8(out, at[i], false, 0, 0);
		*out++ = '.';
	}
	return out - 1;
}

static u8 *put_mac(u8 *out, const u8 *at)
{
	for (int i = 0; i < 6; i++) {
		out = put_hex_digits(out, at[i], 2);
		*out++ = ':';
	}
	return out - 1;
}

/* RFC 5952, with IPv4-mapped addresses as section 5 recommends. */
static u8 *put_ipv6(u8 *out, const u8 *at)
{
	u32 groups[8];
	int begin = 8, length = 1;

	if (!load64(at) && load32(at + 8) == 0xffff0000) {
		out = put(out, (const u8 *)"::ffff:\0\0\0\0\0\0\0\0", 7);
		return put_ipv4(out, at + 12);
	}
	for (int i = 0; i < 8; i++)
		groups[i] = (u32)(at[2 * i] << 8 | at[2 * i + 1]);
	for (int i = 0; i < 8; i++) { /* the first of the longest runs of two zeros or more */
		int end = i;
		while (end < 8 && !groups[end])
			end++;
		if (end - i > length) {
			begin = i;
			length = end - i;
		}
		if (end > i)
			i = end;
	}
	for (int i = 0; i < 8; i++) {
		if (i == begin) {
			*out++ = ':';
			*out++ = ':';
			i += length - 1;
			continue;
		}
		if (i && i != begin + length)
			*out++ = ':';
		out = put_hex(out, groups[i], 0);
	}
	return out;
}
