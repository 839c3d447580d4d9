// SPDX-License-Identifier: MIT
// What clang calls where it makes no code of its own: there is no C library in a handler.
typedef __SIZE_TYPE__ size_t;

void *memcpy(void *to, const void *from, size_t size)
{
	for (size_t at = 0; at < size; at++)
		((char *)to)[at] = ((const char *)from)[at];
	return to;
}

void *memmove(void *to, const void *from, size_t size)
{
	char *target = to;
	const char *source = from;

	if (target <= source)
		return memcpy(to, from, size);
	while (size--)
		target[size] = source[size];
	return to;
}

void *memset(void *to, int value, size_t size)
{
	for (size_t at = 0; at < size; at++)
		((char *)to)[at] = (char)value;
	return to;
}

int memcmp(const void *one, const void *other, size_t size)
{
	const unsigned char *left = one, *right = other;

	for (size_t at = 0; at < size; at++)
		if (left[at] != right[at])
			return left[at] - right[at];
	return 0;
}

size_t strlen(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}
