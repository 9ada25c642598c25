/* The first byte chooses the type of the records; the rest is a name server's answer. */
#include <stdlib.h>
#include <string.h>

#include "net/names_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum names_type types[] = {NAMES_TYPE_MX, NAMES_TYPE_TXT, NAMES_TYPE_TLSA,
                                            NAMES_TYPE_CNAME};
    static struct names_answer answer;

    if (size == 0)
        return 0;
    names_message_parse(&answer, types[data[0] % 4], "example.org", data + 1, size - 1);
    if (answer.count > NAMES_ANSWERS_MAX ||
        (answer.outcome == NAMES_FOUND) != (answer.reason == NULL))
        abort();
    return 0;
}
