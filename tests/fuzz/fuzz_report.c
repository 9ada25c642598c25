/* Any bytes as a certificate that a server shows: no form of output lets through what would move a
 * terminal's cursor or end a line, a label or a number. */
#include <stdlib.h>
#include <string.h>

#include "tls/chain.h"
#include "watch/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_all(FILE *stream, const json_t *endpoints)
{
    const struct report_nagios_options nagios = {.verbose = true};
    struct buffer metrics;

    report_table(stream, endpoints, false);
    ignore(report_nagios(stream, endpoints, &nagios));
    report_trace(stream, json_array_get(endpoints, 0));
    buffer_init(&metrics, 16u << 20);
    report_prometheus(&metrics, endpoints, true);
    fputs(buffer_text(&metrics), stream);
    buffer_fini(&metrics);
    char *line = json_dumps(endpoints, JSON_COMPACT);
    fputs(line, stream);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target target = {.text = "shop.example:443", .host = "shop.example", .port = 443};
    struct endpoint *endpoint = endpoint_new(&target);
    char *text = NULL;
    size_t length;

    if (endpoint != NULL &&
        certificate_facts_new(&endpoint->seen.chain[0], data, size, NULL) == 0) {
        FILE *stream = open_memstream(&text, &length);
        endpoint->seen.chain_count = 1;
        json_t *endpoints = json_pack("[o]", report_json(endpoint));
        put_all(stream, endpoints);
        fclose(stream);
        json_decref(endpoints);
        for (size_t i = 0; i < length; i++) {
            if (((uint8_t)text[i] < 0x20 && text[i] != '\n') || text[i] == 0x7f)
                abort();
        }
    }
    free(text);
    endpoint_free(endpoint);
    return 0;
}
