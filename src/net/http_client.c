/* libcurl tells which sockets it wants to hear of and when it wants to be woken; the loop does
 * that. What libcurl says of a failure is shown with scheme and host of the URL only: tokens stand
 * in paths. Connections are not reused: one that somebody else has opened has not been looked at.
 */
#include "net/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/string.h"
#include "net/curl_library.h"

#define TIMEOUT_MS         30000
#define ANSWER_MAX         (1u << 20)
#define REDIRECTS_MAX      5L
#define CONNECTIONS_MAX    64L
#define CONNECTIONS_A_HOST 4L
#define URL_MAX            8192
#define USER_AGENT         "Holdfast/" HOLDFAST_VERSION " (certificate monitor)"

struct http_request {
    struct http_client *client;
    struct http_request *previous, *next;
    CURL *easy;
    struct curl_slist *headers, *recipients, *addresses;
    http_done_fn *done;
    void *context;
    struct buffer answer;
    uint8_t *body; /* of mail */
    size_t body_size, body_sent;
    bool public_only, refused_address;
    char place[280]; /* scheme and host, printable */
    char reason[CURL_ERROR_SIZE];
};

struct http_client {
    struct loop *loop;
    CURLM *multi; /* NULL: nothing was asked yet */
    struct timer timer;
    uint8_t handler;
    struct http_request *requests;
};

static const struct curl_library *curl; /* NULL: not loaded yet */

/* ---- addresses ---- */

bool http_address_public(const struct address *address)
{
    static const char *const texts[] = {
        "0.0.0.0/8",       "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8",    "169.254.0.0/16",
        "172.16.0.0/12",   "192.0.0.0/24",   "192.0.2.0/24",  "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",   "::/96",          "64:ff9b::/96",
        "64:ff9b:1::/48",  "100::/64",       "2001::/23",     "2001:db8::/32",  "2002::/16",
        "fc00::/7",        "fe80::/9",       "ff00::/8"};
    static struct network networks[ARRAY_SIZE(texts)];
    static bool parsed;
    uint8_t bytes[16];

    for (size_t i = 0; !parsed && i < ARRAY_SIZE(texts); i++)
        ignore(network_parse(&networks[i], texts[i], NULL));
    parsed = true;
    if (address->any.sa_family != AF_INET && address->any.sa_family != AF_INET6)
        return false;
    address_bytes(bytes, address);
    return !network_list_contains(networks, ARRAY_SIZE(networks), bytes);
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *place)
{
    struct http_request *request = context;
    struct address address = {.size = place->addrlen};

    (void)purpose;
    if (place->addrlen > sizeof address.in6) /* libcurl is never asked for Unix sockets */
        return CURL_SOCKET_BAD;
    memcpy(&address.any, &place->addr, place->addrlen);
    if (request->public_only && !http_address_public(&address)) {
        request->refused_address = true;
        return CURL_SOCKET_BAD;
    }
    return socket(place->family, place->socktype | SOCK_CLOEXEC, place->protocol);
}

/* ---- what goes in and out ---- */

static size_t take_answer(char *data, size_t one, size_t count, void *context)
{
    struct http_request *request = context;

    (void)one; /* is 1 */
    return buffer_append(&request->answer, data, count) ? count : 0;
}

static size_t give_mail(char *data, size_t one, size_t count, void *context)
{
    struct http_request *request = context;
    size_t left = request->body_size - request->body_sent, size = one * count;

    if (size > left)
        size = left;
    if (size > 0)
        memcpy(data, request->body + request->body_sent, size);
    request->body_sent += size;
    return size;
}

/* ---- the end of a request ---- */

static void request_free(struct http_request *request)
{
    struct http_client *client = request->client;

    if (request->previous != NULL)
        request->previous->next = request->next;
    else if (client->requests == request)
        client->requests = request->next;
    if (request->next != NULL)
        request->next->previous = request->previous;
    if (request->easy != NULL)
        ignore(curl->multi_remove_handle(client->multi, request->easy));
    curl->easy_cleanup(request->easy);
    curl->slist_free_all(request->headers);
    curl->slist_free_all(request->recipients);
    curl->slist_free_all(request->addresses);
    buffer_fini(&request->answer);
    free(request->body);
    free(request);
}

static void say_failure(const struct http_request *request, CURLcode code, struct error *ret_error)
{
    char reason[CURL_ERROR_SIZE];
    const char *text = request->reason[0] != '\0' ? request->reason : curl->easy_strerror(code);
    enum error_code kind = ERROR_PEER;

    string_printable(reason, sizeof reason, text, strlen(text));
    if (code == CURLE_OPERATION_TIMEDOUT)
        kind = ERROR_TIMEOUT;
    if (request->refused_address) {
        error_set(ret_error, ERROR_LIMIT,
                  "%s leads to an address that is not public; a certificate's URL is followed to "
                  "public addresses only",
                  request->place);
        return;
    }
    if (request->answer.failed || code == CURLE_FILESIZE_EXCEEDED) {
        error_set(ret_error, ERROR_LIMIT, "%s answers with more than %zu bytes", request->place,
                  request->answer.maximum);
        return;
    }
    error_set(ret_error, kind, "%s: %s", request->place, reason);
}

static void finish(struct http_request *request, CURLcode code)
{
    struct http_answer answer = {.failed = code != CURLE_OK, .retry_after_s = -1};
    curl_off_t retry_after = 0;
    long status = 0;

    if (answer.failed)
        say_failure(request, code, &answer.error);
    ignore(curl->easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status));
    answer.status = (unsigned)status;
    if (curl->easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after) == CURLE_OK &&
        retry_after > 0)
        answer.retry_after_s = retry_after;
    answer.body = request->answer.data;
    answer.body_size = answer.failed ? 0 : request->answer.size;
    request->done(request->context, &answer);
    request_free(request);
}

static void finish_all(struct http_client *client)
{
    struct http_request *request;
    CURLMsg *message;
    int left;

    while ((message = curl->multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE &&
            curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request) == CURLE_OK)
            finish(request, message->data.result);
    }
}

/* ---- under the loop ---- */

static void on_socket(void *context, uint64_t fd, unsigned events)
{
    struct http_client *client = context;
    int running, what = 0;

    if ((events & (LOOP_READ | LOOP_HANGUP)) != 0)
        what |= CURL_CSELECT_IN;
    if ((events & LOOP_WRITE) != 0)
        what |= CURL_CSELECT_OUT;
    if ((events & LOOP_ERROR) != 0)
        what |= CURL_CSELECT_ERR;
    ignore(curl->multi_socket_action(client->multi, (curl_socket_t)fd, what, &running));
    finish_all(client);
}

static void on_timer(void *context)
{
    struct http_client *client = context;
    int running;

    ignore(curl->multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running));
    finish_all(client);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *mark)
{
    struct http_client *client = context;
    unsigned events = 0;

    (void)easy;
    (void)mark;
    if (what == CURL_POLL_REMOVE) {
        loop_unwatch(client->loop, fd);
        return 0;
    }
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= LOOP_READ;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= LOOP_WRITE;
    return loop_watch(client->loop, fd, events, client->handler, (uint64_t)fd) ? 0 : -1;
}

static int set_timer(CURLM *multi, long timeout_ms, void *context)
{
    struct http_client *client = context;

    (void)multi;
    if (timeout_ms < 0)
        timer_cancel(client->loop, &client->timer);
    else
        timer_set(client->loop, &client->timer,
                  clock_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS);
    return 0;
}

/* ---- the client ---- */

int http_client_load(struct error *error)
{
    return curl != NULL ? 0 : curl_library_load(&curl, error);
}

int http_client_new(struct http_client **ret_client, struct loop *loop, struct error *error)
{
    struct http_client *client = calloc(1, sizeof *client);

    if (client == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    client->loop = loop;
    client->handler = loop_handler(loop, on_socket, client);
    timer_init(&client->timer, on_timer, client);
    *ret_client = client;
    return 0;
}

/* Before the first request. */
static int make_ready(struct http_client *client, struct error *error)
{
    if (client->multi != NULL)
        return 0;
    int result = http_client_load(error);
    if (result < 0)
        return result;
    client->multi = curl->multi_init();
    if (client->multi == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    ignore(curl->multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket));
    ignore(curl->multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client));
    ignore(curl->multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer));
    ignore(curl->multi_setopt(client->multi, CURLMOPT_TIMERDATA, client));
    ignore(curl->multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, CONNECTIONS_MAX));
    ignore(curl->multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, CONNECTIONS_A_HOST));
    return 0;
}

void http_client_free(struct http_client *client)
{
    if (client == NULL)
        return;
    while (client->requests != NULL)
        request_free(client->requests);
    if (client->multi != NULL)
        ignore(curl->multi_cleanup(client->multi));
    timer_cancel(client->loop, &client->timer);
    free(client);
}

/* ---- making a request ---- */

/* Sets one option; the first that libcurl refuses sticks. Its header does not look into calls by
 * pointer: here, too, a number must not be an int, of which libcurl would read more than is there.
 */
#define SET(option, value)                                                                         \
    do {                                                                                           \
        _Static_assert(sizeof(1 ? (value) : (value)) >= sizeof(long), "too short a number");       \
        if (code == CURLE_OK)                                                                      \
            code = curl->easy_setopt(request->easy, option, value);                                \
    } while (0)

static bool is_mail(const struct http_order *order)
{
    return string_starts_with(order->url, "smtp");
}

static bool list_append(struct curl_slist **list, const char *text)
{
    struct curl_slist *grown = curl->slist_append(*list, text);

    if (grown == NULL)
        return false;
    *list = grown;
    return true;
}

static CURLcode set_headers(struct http_request *request, const struct http_order *order)
{
    CURLcode code = CURLE_OK;
    char line[4096];

    for (size_t i = 0; i < order->header_count; i++) {
        const struct http_header *header = &order->headers[i];
        int size = snprintf(line, sizeof line, "%s: %s", header->name, header->value);
        if (size < 0 || (size_t)size >= sizeof line || strpbrk(line, "\r\n") != NULL)
            return CURLE_BAD_FUNCTION_ARGUMENT;
        if (!list_append(&request->headers, line))
            return CURLE_OUT_OF_MEMORY;
    }
    explicit_bzero(line, sizeof line); /* may hold a token */
    SET(CURLOPT_HTTPHEADER, request->headers);
    return code;
}

static CURLcode set_http(struct http_request *request, const struct http_order *order)
{
    CURLcode code = set_headers(request, order);

    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, order->follow ? 1L : 0L);
    SET(CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    SET(CURLOPT_USERAGENT, USER_AGENT);
    if (order->body != NULL) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)order->body_size);
        SET(CURLOPT_COPYPOSTFIELDS, (const char *)order->body);
    }
    if (order->method != NULL)
        SET(CURLOPT_CUSTOMREQUEST, order->method);
    return code;
}

static CURLcode set_mail(struct http_request *request, const struct http_order *order)
{
    CURLcode code = CURLE_OK;

    request->body = malloc(order->body_size + 1);
    if (request->body == NULL)
        return CURLE_OUT_OF_MEMORY;
    if (order->body_size > 0)
        memcpy(request->body, order->body, order->body_size);
    request->body_size = order->body_size;
    for (size_t i = 0; i < order->mail_to_count; i++) {
        if (!list_append(&request->recipients, order->mail_to[i]))
            return CURLE_OUT_OF_MEMORY;
    }
    SET(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    SET(CURLOPT_MAIL_FROM, order->mail_from);
    SET(CURLOPT_MAIL_RCPT, request->recipients);
    SET(CURLOPT_USE_SSL, (long)(order->mail_starttls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
    SET(CURLOPT_UPLOAD, 1L);
    SET(CURLOPT_READFUNCTION, give_mail);
    SET(CURLOPT_READDATA, request);
    return code;
}

static bool append_addresses(struct buffer *line, const struct http_order *order)
{
    char text[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < order->address_count; i++) {
        struct address address = order->addresses[i];
        address_set_port(&address, 0);
        size_t size = strlen(address_format(text, sizeof text, &address)) - strlen(":0");
        ignore(buffer_printf(line, "%s%.*s", i == 0 ? "" : ",", (int)size, text));
    }
    return !line->failed;
}

/* "+HOST:PORT:ADDRESS,ADDRESS": remembered no longer than an answer of the DNS. */
static CURLcode set_addresses(struct http_request *request, const struct http_order *order)
{
    __attribute__((cleanup(buffer_auto))) struct buffer line;
    CURLU *parts = curl->url();
    char *host = NULL, *port = NULL;
    CURLcode code = CURLE_OUT_OF_MEMORY;

    buffer_init(&line, URL_MAX + order->address_count * ADDRESS_TEXT_MAX);
    if (parts != NULL && curl->url_set(parts, CURLUPART_URL, order->url, 0) == CURLUE_OK &&
        curl->url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl->url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        buffer_printf(&line, "+%s:%s:", host, port) && append_addresses(&line, order) &&
        list_append(&request->addresses, buffer_text(&line)))
        code = CURLE_OK;
    curl->free(host);
    curl->free(port);
    curl->url_cleanup(parts);
    SET(CURLOPT_RESOLVE, request->addresses);
    return code;
}

static CURLcode set_limits(struct http_request *request, const struct http_order *order)
{
    CURLcode code = CURLE_OK;

    SET(CURLOPT_TIMEOUT_MS, (long)(order->timeout_ms != 0 ? order->timeout_ms : TIMEOUT_MS));
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->answer.maximum);
    SET(CURLOPT_FORBID_REUSE, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a name that is being resolved must not hold us up */
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, request);
    if (order->public_only)
        SET(CURLOPT_PROXY, "");
    return code;
}

static CURLcode set_all(struct http_request *request, const struct http_order *order)
{
    CURLcode code = is_mail(order) ? set_mail(request, order) : set_http(request, order);

    if (code == CURLE_OK)
        code = set_limits(request, order);
    if (code == CURLE_OK && order->address_count > 0)
        code = set_addresses(request, order);
    SET(CURLOPT_URL, order->url);
    SET(CURLOPT_PRIVATE, request);
    SET(CURLOPT_ERRORBUFFER, request->reason);
    SET(CURLOPT_WRITEFUNCTION, take_answer);
    SET(CURLOPT_WRITEDATA, request);
    if (order->user != NULL)
        SET(CURLOPT_USERNAME, order->user);
    if (order->password != NULL)
        SET(CURLOPT_PASSWORD, order->password);
    if (order->trust_pem != NULL) {
        struct curl_blob pem = {.data = (void *)(uintptr_t)order->trust_pem,
                                .len = strlen(order->trust_pem),
                                .flags = CURL_BLOB_COPY};
        SET(CURLOPT_CAINFO_BLOB, &pem);
        SET(CURLOPT_CAINFO, (const char *)NULL);
        SET(CURLOPT_CAPATH, (const char *)NULL);
    }
    return code;
}

/* Scheme and host; not what stands before an "@" or behind the host. */
static int name_place(char *place, size_t size, const char *url, struct error *error)
{
    CURLU *parts = curl->url();
    char *scheme = NULL, *host = NULL, text[280];

    if (parts == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    CURLUcode code = strlen(url) > URL_MAX
                         ? CURLUE_MALFORMED_INPUT
                         : curl->url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
    if (code == CURLUE_OK && curl->url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl->url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        snprintf(text, sizeof text, "%s://%s", scheme, host);
        string_printable(place, size, text, strlen(text));
    }
    bool known = scheme != NULL && host != NULL &&
                 (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0 ||
                  strcasecmp(scheme, "smtp") == 0 || strcasecmp(scheme, "smtps") == 0);
    curl->free(scheme);
    curl->free(host);
    curl->url_cleanup(parts);
    return known ? 0
                 : error_set(error, ERROR_USAGE,
                             "found a URL that is none of http, https, smtp or smtps with a host");
}

struct http_request *http_client_ask(struct http_client *client, const struct http_order *order,
                                     http_done_fn *done, void *context, struct error *error)
{
    if (make_ready(client, error) < 0)
        return NULL;
    struct http_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        error_set(error, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    *request = (struct http_request){.client = client,
                                     .next = client->requests,
                                     .easy = curl->easy_init(),
                                     .done = done,
                                     .context = context,
                                     .public_only = order->public_only};
    buffer_init(&request->answer, order->answer_max != 0 ? order->answer_max : ANSWER_MAX);
    if (request->next != NULL)
        request->next->previous = request;
    client->requests = request;
    int result = name_place(request->place, sizeof request->place, order->url, error);
    if (result == 0) {
        CURLcode code = request->easy != NULL ? set_all(request, order) : CURLE_OUT_OF_MEMORY;
        if (code != CURLE_OK || curl->multi_add_handle(client->multi, request->easy) != CURLM_OK)
            result = error_set(error, ERROR_IO, "%s cannot be asked: %s", request->place,
                               code != CURLE_OK ? curl->easy_strerror(code) : "out of memory");
    }
    if (result != 0) {
        request_free(request);
        return NULL;
    }
    return request;
}

void http_client_cancel(struct http_request *request)
{
    if (request != NULL)
        request_free(request);
}
