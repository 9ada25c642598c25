/* Quantities that people write and read: amounts of data, rates, probabilities, very long times.
 * Doubles, since some of them exceed every integer. */
#pragma once

#include "base/error.h"

#define QUANTITY_TEXT_MAX 48

/* "16k", "1.5TB", "4 GiB", "2^37", "1e12": k, m, g, t, p, e alone and KiB… are powers of 1024 (as
 * in the configuration), kB, MB… of 1000. Greater than 0. */
MUST_CHECK int quantity_bytes(double *ret_bytes, const char *text, struct error *error);
/* "10Gbit/s", "100Mbps", "2MB/s", "1TB/day": bytes per second. Greater than 0. */
MUST_CHECK int quantity_rate(double *ret_bytes_per_s, const char *text, struct error *error);
/* "2^-60", "1e-18", "1/1000000", "0.5": the logarithm to base 2, from -1000 up to 0 (certainty). */
MUST_CHECK int quantity_probability(double *ret_log2, const char *text, struct error *error);

/* "388 GB", "8.6 TB", "1.2e+30 B", "no limit"; three digits. Returns `text`. */
const char *quantity_show_bytes(char text[QUANTITY_TEXT_MAX], double bytes);
/* The same by powers of 1024: "361 GiB", "256 EiB". */
const char *quantity_show_binary(char text[QUANTITY_TEXT_MAX], double bytes);
/* "5.2 min", "2.4 h", "3.1e+09 years", "for ever". */
const char *quantity_show_time(char text[QUANTITY_TEXT_MAX], double seconds);
/* "2^24.5"; plain up to 9999; "under 1". */
const char *quantity_show_count(char text[QUANTITY_TEXT_MAX], double count);
