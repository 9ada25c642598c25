/* A leg against an evil peer that holds the keys. Input: suite and role in one byte, then commands
 * {type, size, content}: types 20–23 are sealed as records, others thrown at it raw. */
#include <stdlib.h>
#include <string.h>

#include "tls/leg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t suites[][2] = {{TLS_VERSION_1_3, 0x1301}, {TLS_VERSION_1_2, 0xc02b}};
    static struct record_crypto *crypto;
    static uint8_t wire[512], output[512], owed[LEG_OWED_MAX];
    struct leg leg = {0};
    struct leg_keys keys[2] = {0};

    crypto = crypto == NULL ? record_crypto_new() : crypto;
    const uint16_t *id = suites[size > 0 && (data[0] & 1)];
    const struct suite *suite = suite_find(id[0], id[1]);
    leg_init(&leg, suite, size > 0 && (data[0] & 2), 512);
    for (size_t at = 1, n; at + 2 <= size; at += 2 + n) {
        struct leg_opened opened;
        uint64_t sequence = leg.read_sequence, nonce = at;
        n = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        size_t length = n;
        memcpy(wire, data + at + 2, n);
        if (data[at] >= RECORD_CHANGE_CIPHER_SPEC && data[at] <= RECORD_APPLICATION_DATA) {
            length = record_seal(crypto, suite, &keys[leg.read_bank].read, &sequence, &nonce,
                                 data[at], data + at + 2, n, 512, wire);
        }
        enum leg_event event = leg_open(crypto, &leg, leg_own_banks(keys), wire, length, output,
                                        sizeof(output), at, &opened);
        if (opened.consumed > length || opened.produced > n ||
            leg_seal_owed(crypto, &leg, leg_own_banks(keys), at, owed) > sizeof(owed) ||
            leg_owes(&leg)) {
            abort();
        }
        if (event == LEG_FATAL || event == LEG_CLOSED) {
            break;
        }
    }
    return 0;
}
