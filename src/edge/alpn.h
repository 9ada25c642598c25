/* ALPN names of the configuration in wire form (RFC 7301 §3.1: each with its length in front). */
#pragma once

#include "conf/conf.h"

/* malloc'ed; NULL when out of memory. An empty list gives size 0. */
uint8_t *alpn_encode(const struct conf_text_list *names, size_t *ret_size);
