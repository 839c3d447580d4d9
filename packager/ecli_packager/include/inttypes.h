/* <inttypes.h> for programs of the kernel, which have no use for the rest of it. */
#include <stdint.h>
