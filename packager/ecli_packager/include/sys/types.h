/* <sys/types.h>; beside vmlinux.h nothing, which has its types. */
#ifndef __VMLINUX_H__
#include_next <sys/types.h>
#endif
