#include "watch/http_head.h"

#include <string.h>
#include <strings.h>

#include "base/string.h"

#define HSTS_NAME "strict-transport-security:"

/* Text that is not terminated. */
struct span {
    const char *text;
    size_t size;
};

static struct span trim(struct span span)
{
    while (span.size > 0 && (span.text[0] == ' ' || span.text[0] == '\t')) {
        span.text++;
        span.size--;
    }
    while (span.size > 0 && (span.text[span.size - 1] == ' ' || span.text[span.size - 1] == '\t'))
        span.size--;
    return span;
}

static bool is(struct span span, const char *word)
{
    return span.size == strlen(word) && strncasecmp(span.text, word, span.size) == 0;
}

/* Takes what stands before `mark`, and the mark; all when there is none. */
static struct span split(struct span *rest, char mark)
{
    const char *end = rest->size > 0 ? memchr(rest->text, mark, rest->size) : NULL;
    struct span part = {rest->text, end != NULL ? (size_t)(end - rest->text) : rest->size};
    size_t taken = part.size + (end != NULL);

    rest->text += taken;
    rest->size -= taken;
    return part;
}

/* ---- Strict-Transport-Security ---- */

/* Digits, quoted or not; what JSON cannot say (a signed number of 64 bits) counts as the largest.
 */
static bool read_age(struct span value, uint64_t *ret_age)
{
    uint64_t age = 0;

    if (value.size >= 2 && value.text[0] == '"' && value.text[value.size - 1] == '"')
        value = (struct span){value.text + 1, value.size - 2};
    for (size_t i = 0; i < value.size; i++) {
        unsigned digit = (unsigned)value.text[i] - '0';
        if (digit > 9)
            return false;
        age = age > ((uint64_t)INT64_MAX - digit) / 10 ? INT64_MAX : age * 10 + digit;
    }
    *ret_age = age;
    return value.size > 0;
}

/* RFC 6797 §6.1: each directive once, max-age required, unknown ones ignored. */
static void read_hsts(struct endpoint_http *http, struct span value)
{
    bool has_age = false;

    string_printable(http->strict_transport_security, sizeof http->strict_transport_security,
                     value.text, value.size);
    while (value.size > 0) {
        struct span directive = split(&value, ';');
        struct span name = trim(split(&directive, '='));
        if (is(name, "max-age")) {
            http->hsts_malformed |= has_age || !read_age(trim(directive), &http->hsts_max_age_s);
            has_age = true;
        } else if (is(name, "includeSubDomains")) {
            http->hsts_malformed |= http->hsts_subdomains;
            http->hsts_subdomains = true;
        }
    }
    http->hsts_malformed |= !has_age;
}

/* ---- the head ---- */

/* The next line without its end; false when it has none yet. */
static bool take_line(struct span *rest, struct span *ret_line)
{
    if (rest->size == 0 || memchr(rest->text, '\n', rest->size) == NULL)
        return false;
    struct span line = split(rest, '\n');
    if (line.size > 0 && line.text[line.size - 1] == '\r')
        line.size--;
    *ret_line = line;
    return true;
}

/* "HTTP/1.1 200 …"; 0: it is none. */
static unsigned read_status(struct span line)
{
    unsigned status = 0;

    if (line.size < 12 || strncmp(line.text, "HTTP/1.", 7) != 0 || line.text[8] != ' ')
        return 0;
    for (size_t i = 9; i < 12; i++) {
        unsigned digit = (unsigned)line.text[i] - '0';
        if (digit > 9)
            return 0;
        status = status * 10 + digit;
    }
    return status < 100 ? 0 : status;
}

/* One response; its head is complete for HTTP_HEAD_DONE. Only the first header counts (§8.1). */
static enum http_head_status read_response(struct span *rest, struct endpoint_http *http)
{
    struct span line;
    bool seen = false;

    if (!take_line(rest, &line))
        return HTTP_HEAD_MORE;
    if ((http->status = read_status(line)) == 0)
        return HTTP_HEAD_BAD;
    while (take_line(rest, &line)) {
        if (line.size == 0)
            return HTTP_HEAD_DONE;
        struct span name = {line.text, strlen(HSTS_NAME)};
        if (seen || line.size < name.size || !is(name, HSTS_NAME))
            continue;
        seen = true;
        read_hsts(http, trim((struct span){line.text + name.size, line.size - name.size}));
    }
    return HTTP_HEAD_MORE;
}

enum http_head_status http_head_read(const uint8_t *data, size_t size, struct endpoint_http *http)
{
    struct span rest = {(const char *)data, size < HTTP_HEAD_MAX ? size : HTTP_HEAD_MAX};
    struct endpoint_http found;
    enum http_head_status status;

    do {
        found = (struct endpoint_http){.asked = http->asked};
        status = read_response(&rest, &found);
    } while (status == HTTP_HEAD_DONE && found.status < 200);
    if (status == HTTP_HEAD_DONE)
        *http = found;
    return status == HTTP_HEAD_MORE && size >= HTTP_HEAD_MAX ? HTTP_HEAD_BAD : status;
}
