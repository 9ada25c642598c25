/* Memory for OpenSSL: a handshake makes some two thousand short-lived allocations of the same sizes
 * each time, so freed blocks are kept in lists by size and handed out again. They are wiped before:
 * OpenSSL frees traffic secrets with its SSL objects, and master secrets with the tickets that it
 * encodes, as they are. */
#pragma once

/* Before anything of OpenSSL is used. Does nothing under sanitizers, which watch the system's
 * allocator. */
void process_memory_init(void);
