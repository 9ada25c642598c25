#include "tls/fingerprints.h"

#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "tls/client_hello.h"

#define ENTRIES_MAX 10000

struct fingerprints {
    size_t count;
    struct fingerprint {
        size_t size;
        char text[CLIENT_HELLO_JA4_SIZE];
    } entries[];
};

static int fail(struct error *error, const char *path, unsigned line, const char *text, size_t size)
{
    char shown[2 * CLIENT_HELLO_JA4_SIZE];

    return error_set(error, ERROR_CONFIG,
                     "%s:%u: found '%s'; expected a JA4 fingerprint, such as "
                     "t13d1516h2_8daaf6152771_e5627efa2ab1, or the first %d characters of one or "
                     "more",
                     path, line, string_printable(shown, sizeof shown, text, size),
                     FINGERPRINT_MIN);
}

/* As JA4 writes them: small letters, digits and two underscores in their places. */
static bool is_fingerprint(const char *text, size_t size)
{
    if (size < FINGERPRINT_MIN || size >= CLIENT_HELLO_JA4_SIZE || strchr("tqd", text[0]) == NULL)
        return false;
    for (size_t i = 0; i < size; i++) {
        bool separates = i == 10 || i == 23;
        bool alphanumeric =
            (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9');
        if (separates ? text[i] != '_' : !alphanumeric)
            return false;
    }
    return true;
}

static size_t count_lines(const char *text)
{
    size_t count = 1;

    while ((text = strchr(text, '\n')) != NULL) {
        text++;
        count++;
    }
    return count;
}

int fingerprints_parse(struct fingerprints **ret_fingerprints, const char *path, const char *text,
                       struct error *error)
{
    size_t lines = count_lines(text);

    if (lines > ENTRIES_MAX)
        return error_set(error, ERROR_CONFIG, "%s: found %zu lines; expected at most %d", path,
                         lines, ENTRIES_MAX);
    struct fingerprints *made = calloc(1, sizeof *made + lines * sizeof made->entries[0]);
    if (made == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    for (unsigned line = 1; *text != '\0'; line++) {
        size_t length = strcspn(text, "\n");
        const char *word = text + strspn(text, " \t");
        size_t size = strcspn(word, " \t\r\n");
        if (size != 0 && word[0] != '#') {
            if (!is_fingerprint(word, size)) {
                free(made);
                return fail(error, path, line, word, size);
            }
            struct fingerprint *entry = &made->entries[made->count++];
            entry->size = size;
            memcpy(entry->text, word, size);
        }
        text += length + (text[length] == '\n');
    }
    *ret_fingerprints = made;
    return 0;
}

void fingerprints_free(struct fingerprints *fingerprints)
{
    free(fingerprints);
}

bool fingerprints_match(const struct fingerprints *fingerprints, const char *ja4)
{
    for (size_t i = 0; fingerprints != NULL && i < fingerprints->count; i++) {
        if (strncmp(fingerprints->entries[i].text, ja4, fingerprints->entries[i].size) == 0)
            return true;
    }
    return false;
}
