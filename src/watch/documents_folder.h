/* Where documents outlive the process: one file each, its address in the first line. Losing them
 * costs a fetch, so failures are silent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void documents_folder_write(const char *folder, const char *key, const uint8_t *data, size_t size);
/* The caller frees what was read. */
bool documents_folder_read(const char *folder, const char *key, uint8_t **ret_data,
                           size_t *ret_size);
void documents_folder_remove(const char *folder, const char *key);
/* Removes what has not been written for so long that it has ended. */
void documents_folder_tidy(const char *folder);
