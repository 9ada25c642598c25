/* Any bytes as a certificate: what is read must be printable, bounded, and the same when read
 * again. */
#include <stdlib.h>
#include <string.h>

#include "tls/certificate_facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_printable(const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        if ((uint8_t)*text < 0x20 || *text == 0x7f)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct certificate_facts *facts, *again;

    if (certificate_facts_new(&facts, data, size, NULL) != 0)
        return 0;
    const char *const texts[] = {facts->subject,         facts->issuer,
                                 facts->common_name,     facts->serial,
                                 facts->policies,        facts->extended_usage_text,
                                 facts->issuer_name,     facts->malformed_extension,
                                 facts->unknown_critical};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        must_be_printable(texts[i]);
    for (size_t i = 0; i < facts->name_count; i++)
        must_be_printable(facts->names[i].text);
    if (certificate_facts_cover(facts, "*.example") ||
        certificate_facts_new(&again, data, size, NULL) != 0 ||
        again->name_count != facts->name_count)
        abort();
    certificate_facts_unref(again);
    certificate_facts_unref(facts);
    return 0;
}
