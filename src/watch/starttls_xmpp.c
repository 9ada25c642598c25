/* XMPP, client to server and server to server (RFC 6120 §5).
 *
 * The stream is one XML document that never ends; only its tags are looked at, as far as the
 * beginning needs them. What XMPP forbids in XML (§11.1: comments, DTDs, sections) ends the talk.
 */
#include "watch/starttls_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/string.h"

enum { XMPP_FEATURES, XMPP_CONSENT };

static const char starttls_request[] = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

void starttls_open_xmpp(struct starttls *starttls)
{
    char stream[TARGET_HOST_MAX + 256];
    bool server = starttls->protocol == TARGET_XMPP_SERVER;

    /* The host is a name with letters, digits, "-", "_", "." and ":" only: nothing to escape. */
    snprintf(stream, sizeof stream,
             "<?xml version='1.0'?><stream:stream xmlns='%s' "
             "xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>",
             server ? "jabber:server" : "jabber:client", starttls->host);
    starttls_say_text(starttls, XMPP_FEATURES, stream);
}

struct tag {
    const char *begin;
    size_t size;      /* with "<" and ">" */
    const char *name; /* without its prefix */
    size_t name_length;
    bool closes, empty; /* "</…>", "<…/>" */
};

/* Where the tag ends: the ">" outside of quotes; NULL: not whole. */
static const char *tag_end(const char *at, const char *end)
{
    char quote = '\0';

    for (; at < end; at++) {
        if (quote != '\0')
            quote = *at == quote ? '\0' : quote;
        else if (*at == '"' || *at == '\'')
            quote = *at;
        else if (*at == '>')
            return at;
    }
    return NULL;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static void name_tag(struct tag *tag)
{
    const char *at = tag->begin + 1, *last = tag->begin + tag->size - 1;

    tag->closes = *at == '/';
    tag->empty = last[-1] == '/' && !tag->closes;
    if (tag->closes)
        at++;
    tag->name = at;
    for (; at < last && *at != '/' && !is_space(*at); at++) {
        if (*at == ':')
            tag->name = at + 1;
    }
    tag->name_length = (size_t)(at - tag->name);
}

static bool tag_is(const struct tag *tag, const char *name)
{
    return tag->name_length == strlen(name) && memcmp(tag->name, name, tag->name_length) == 0;
}

/* The next tag at or behind *at, text before it skipped; *at moves behind it. False: none is whole
 * yet, or *ret_status is an end. */
static bool next_tag(struct starttls *starttls, size_t *at, struct tag *ret_tag,
                     enum starttls_status *ret_status)
{
    const char *input = (const char *)starttls->input, *end = input + starttls->input_size;
    const char *begin = memchr(input + *at, '<', starttls->input_size - *at);

    *ret_status = STARTTLS_WANT_READ;
    if (*at == 0 && input[0] != '<' && !is_space(input[0])) {
        *ret_status = starttls_end(starttls, STARTTLS_PROTOCOL, "expected a stream of XMPP, not",
                                   input, starttls->input_size);
        return false;
    }
    if (begin == NULL || begin + 1 == end)
        return false;
    if (begin[1] == '!') {
        *ret_status = starttls_end(starttls, STARTTLS_PROTOCOL, "sends XML that XMPP forbids",
                                   begin, (size_t)(end - begin));
        return false;
    }
    const char *close = tag_end(begin + 1, end);
    if (close == NULL)
        return false;
    *ret_tag = (struct tag){.begin = begin, .size = (size_t)(close + 1 - begin)};
    name_tag(ret_tag);
    *at = (size_t)(close + 1 - input);
    return true;
}

/* <stream:error> with what is in it, as far as it has come. */
static enum starttls_status stream_error(struct starttls *starttls, const struct tag *tag)
{
    const char *content = tag->begin + tag->size;
    const char *end = (const char *)starttls->input + starttls->input_size;

    return starttls_end(starttls, STARTTLS_REFUSED, "ends the stream with an error", content,
                        (size_t)(end - content));
}

/* The stream's header, then its features, whole. */
static enum starttls_status step_features(struct starttls *starttls)
{
    enum starttls_status status;
    bool inside = false, offered = false;
    struct tag tag;

    for (size_t at = 0; next_tag(starttls, &at, &tag, &status);) {
        if (tag_is(&tag, "error"))
            return stream_error(starttls, &tag);
        offered = offered || (inside && tag_is(&tag, "starttls"));
        if (!tag_is(&tag, "features"))
            continue;
        inside = true;
        if (!tag.closes && !tag.empty)
            continue;
        if (!offered)
            return starttls_end(starttls, STARTTLS_REFUSED, "does not offer starttls", NULL, 0);
        starttls_take(starttls, at);
        starttls_say_text(starttls, XMPP_CONSENT, starttls_request);
        return STARTTLS_WANT_READ;
    }
    return status;
}

static enum starttls_status step_consent(struct starttls *starttls)
{
    enum starttls_status status;
    struct tag tag;
    size_t at = 0;

    if (!next_tag(starttls, &at, &tag, &status))
        return status;
    if (tag_is(&tag, "failure"))
        return starttls_end(starttls, STARTTLS_REFUSED, "answers starttls with a failure", NULL, 0);
    if (tag_is(&tag, "error"))
        return stream_error(starttls, &tag);
    if (!tag_is(&tag, "proceed") || tag.closes)
        return starttls_end(starttls, STARTTLS_PROTOCOL, "expected <proceed/>, not", tag.begin,
                            tag.size);
    /* <proceed …></proceed>: its second tag belongs to it. */
    if (!tag.empty) {
        if (!next_tag(starttls, &at, &tag, &status))
            return status;
        if (!tag_is(&tag, "proceed") || !tag.closes)
            return starttls_end(starttls, STARTTLS_PROTOCOL, "expected <proceed/>, not", tag.begin,
                                tag.size);
    }
    starttls_take(starttls, at);
    return STARTTLS_DONE;
}

enum starttls_status starttls_step_xmpp(struct starttls *starttls)
{
    return starttls->step == XMPP_FEATURES ? step_features(starttls) : step_consent(starttls);
}
