/* <stddef.h>; beside vmlinux.h only what that has not. */
#ifdef __VMLINUX_H__
#undef NULL
#define NULL ((void *)0)
#undef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#else
#include_next <stddef.h>
#endif
