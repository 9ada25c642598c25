/* Any text: parsed or refused, never a crash or leak; what is accepted can be shown and is accepted
 * again, unchanged. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *parse_and_show(const char *text)
{
    struct conf *conf;
    struct error error;
    char *shown = NULL;

    if (conf_parse(&conf, "fuzz.conf", text, NULL, NULL, &error) == 0) {
        shown = conf_show(conf);
        conf_free(conf);
    }
    return shown;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    char *first = parse_and_show(text);

    if (first != NULL) {
        char *second = parse_and_show(first);
        if (second == NULL || strcmp(first, second) != 0)
            abort();
        free(second);
    }
    free(first);
    free(text);
    return 0;
}
