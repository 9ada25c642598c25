#include "watch/starttls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A text with its size, which may hold zeros. */
#define B(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
struct bytes {
    const char *data;
    size_t size;
};

/* The server's words and, after each, the client's; a dialogue ends with its status. */
struct dialogue {
    enum target_protocol protocol;
    struct bytes open; /* the client speaks first */
    struct {
        struct bytes server, client;
    } turns[4];
    enum starttls_status status;
    const char *reason; /* a part of it; NULL: any */
};

static void expect_output(struct starttls *starttls, const struct bytes *expected)
{
    assert_int_equal(starttls->output_size, expected->size);
    if (expected->size > 0)
        assert_memory_equal(starttls->output, expected->data, expected->size);
    starttls_sent(starttls);
}

/* Feeds in pieces of `piece` bytes; only the last may bring it on. */
static enum starttls_status feed(struct starttls *starttls, const struct bytes *words, size_t piece)
{
    enum starttls_status status = STARTTLS_WANT_READ;

    for (size_t at = 0; at < words->size && status == STARTTLS_WANT_READ; at += piece) {
        size_t size = words->size - at < piece ? words->size - at : piece;
        status = starttls_feed(starttls, (const uint8_t *)words->data + at, size);
    }
    return status;
}

static void play(const struct dialogue *dialogue, size_t piece)
{
    struct starttls starttls;
    enum starttls_status status = STARTTLS_WANT_READ;

    starttls_init(&starttls, dialogue->protocol, "chat.example");
    expect_output(&starttls, &dialogue->open);
    for (size_t i = 0; i < 4 && dialogue->turns[i].server.data != NULL; i++) {
        assert_int_equal(status, STARTTLS_WANT_READ);
        status = feed(&starttls, &dialogue->turns[i].server, piece);
        if (status == STARTTLS_WANT_READ || status == STARTTLS_DONE)
            expect_output(&starttls, &dialogue->turns[i].client);
    }
    if (status != dialogue->status ||
        (dialogue->reason != NULL && strstr(starttls.reason, dialogue->reason) == NULL))
        fail_msg("%s in pieces of %zu: status %d, expected %d; \"%s\"",
                 target_protocol_name(dialogue->protocol), piece, (int)status,
                 (int)dialogue->status, starttls.reason);
}

#define LDAP_REQUEST                                                                               \
    B("\x30\x1d\x02\x01\x01\x77\x18\x80\x16"                                                       \
      "1.3.6.1.4.1.1466.20037")
#define POSTGRES_REQUEST B("\0\0\0\x08\x04\xd2\x16\x2f")
#define XMPP_OPEN(namespace)                                                                       \
    B("<?xml version='1.0'?><stream:stream xmlns='" namespace "' "                                 \
                                                              "xmlns:stream='http://"              \
                                                              "etherx.jabber.org/streams' "        \
                                                              "to='chat.example' version='1.0'>")
#define XMPP_STREAM  "<?xml version='1.0'?><stream:stream from='chat.example' id=\"a>b\">"
#define XMPP_REQUEST B("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
#define XMPP_OFFER                                                                                 \
    B(XMPP_STREAM "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>"            \
                  "<required/></starttls></stream:features>")
#define MYSQL_TAIL(capabilities)                                                                   \
    "\x0a"                                                                                         \
    "8.0\0"                                                                                        \
    "\x01\0\0\0saltsalt\0" capabilities "\x08\x02\0"
#define MYSQL_REQUEST                                                                              \
    B("\x20\0\0\x01\0\x8a\0\0\0\0\0\x01\x08"                                                       \
      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")

static void servers_that_consent(void **state)
{
    (void)state;
    static const struct dialogue good[] = {
        {TARGET_SMTP,
         {0},
         {{B("220-mail.example ESMTP\r\n220 ready\r\n"), B("EHLO holdfast.invalid\r\n")},
          {B("250-mail.example\r\n250-SIZE 1000\r\n250-startTLS\r\n250 8BITMIME\r\n"),
           B("STARTTLS\r\n")},
          {B("220 2.0.0 go\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_LMTP,
         {0},
         {{B("220 mail.example LMTP\n"), B("LHLO holdfast.invalid\r\n")},
          {B("250-mail.example\n250 STARTTLS\n"), B("STARTTLS\r\n")},
          {B("220\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_IMAP,
         {0},
         {{B("* OK [CAPABILITY IMAP4rev1] ready\r\n"), B("a1 CAPABILITY\r\n")},
          {B("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na1 OK done\r\n"),
           B("a2 STARTTLS\r\n")},
          {B("a2 OK begin\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_POP3,
         {0},
         {{B("+OK ready <1.2@mail.example>\r\n"), B("CAPA\r\n")},
          {B("+OK\r\nUIDL\r\nSTLS\r\n.\r\n"), B("STLS\r\n")},
          {B("+OK begin\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_POP3,
         {0},
         {{B("+OK ready\r\n"), B("CAPA\r\n")},
          {B("-ERR what?\r\n"), B("STLS\r\n")},
          {B("+OK begin\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_FTP,
         {0},
         {{B("120 in a minute\r\n220-Welcome\r\n anything\r\n  330 at all\r\n220 ready\r\n"),
           B("AUTH TLS\r\n")},
          {B("234 go\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_NNTP,
         {0},
         {{B("201 news.example\r\n"), B("CAPABILITIES\r\n")},
          {B("101 list\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n"), B("STARTTLS\r\n")},
          {B("382 go\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_NNTP,
         {0},
         {{B("200 news.example\r\n"), B("CAPABILITIES\r\n")},
          {B("500 what?\r\n"), B("STARTTLS\r\n")},
          {B("382 go\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_SIEVE,
         {0},
         {{B("\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n"), B("STARTTLS\r\n")},
          {B("OK\r\n"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x84\0\0\0\x10\x02\x01\x01\x78\x84\0\0\0\x07\x0a\x01\0\x04\0\x04\0"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_POSTGRES, POSTGRES_REQUEST, {{B("S"), {0}}}, STARTTLS_DONE, ""},
        {TARGET_MYSQL,
         {0},
         {{B("\x17\0\0\0" MYSQL_TAIL("\xff\xff")), MYSQL_REQUEST}},
         STARTTLS_DONE,
         ""},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{XMPP_OFFER, XMPP_REQUEST},
          {B("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), {0}}},
         STARTTLS_DONE,
         ""},
        {TARGET_XMPP_SERVER,
         XMPP_OPEN("jabber:server"),
         {{XMPP_OFFER, XMPP_REQUEST},
          {B("\n<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'></proceed>"), {0}}},
         STARTTLS_DONE,
         ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        play(&good[i], SIZE_MAX / 2);
        play(&good[i], 1);
        play(&good[i], 7);
    }
}

static void servers_that_refuse(void **state)
{
    (void)state;
    static const struct dialogue bad[] = {
        {TARGET_SMTP,
         {0},
         {{B("554 go away \x1b[2J\r\n"), {0}}},
         STARTTLS_REFUSED,
         "greets with: 554 go away \\x1b[2J"},
        {TARGET_SMTP,
         {0},
         {{B("220 x\r\n"), B("EHLO holdfast.invalid\r\n")},
          {B("250-x\r\n250-XSTARTTLS\r\n250 STARTTLSX\r\n"), {0}}},
         STARTTLS_REFUSED,
         "does not offer STARTTLS"},
        {TARGET_SMTP,
         {0},
         {{B("220 x\r\n"), B("EHLO holdfast.invalid\r\n")},
          {B("250 STARTTLS is not an offer in the first line\r\n"), {0}}},
         STARTTLS_REFUSED,
         "does not offer STARTTLS"},
        {TARGET_SMTP,
         {0},
         {{B("220 x\r\n"), B("EHLO holdfast.invalid\r\n")}, {B("502 old\r\n"), {0}}},
         STARTTLS_REFUSED,
         "answers EHLO with: 502 old"},
        {TARGET_SMTP,
         {0},
         {{B("220 x\r\n"), B("EHLO holdfast.invalid\r\n")},
          {B("250-x\r\n250 STARTTLS\r\n"), B("STARTTLS\r\n")},
          {B("454 no certificate\r\n"), {0}}},
         STARTTLS_REFUSED,
         "answers STARTTLS with: 454 no certificate"},
        {TARGET_IMAP, {0}, {{B("* PREAUTH hello\r\n"), {0}}}, STARTTLS_REFUSED, "logged in"},
        {TARGET_IMAP, {0}, {{B("* BYE full\r\n"), {0}}}, STARTTLS_REFUSED, "BYE full"},
        {TARGET_IMAP,
         {0},
         {{B("* OK\r\n"), B("a1 CAPABILITY\r\n")},
          {B("* CAPABILITY IMAP4rev1 XSTARTTLS\r\na1 OK done\r\n"), {0}}},
         STARTTLS_REFUSED,
         "does not offer STARTTLS"},
        {TARGET_IMAP,
         {0},
         {{B("* OK\r\n"), B("a1 CAPABILITY\r\n")},
          {B("* CAPABILITY STARTTLS\r\na1 OK done\r\n"), B("a2 STARTTLS\r\n")},
          {B("a2 BAD no\r\n"), {0}}},
         STARTTLS_REFUSED,
         "a2 BAD no"},
        {TARGET_POP3,
         {0},
         {{B("+OK\r\n"), B("CAPA\r\n")}, {B("+OK\r\nUIDL\r\n.\r\n"), {0}}},
         STARTTLS_REFUSED,
         "does not offer STLS"},
        {TARGET_FTP,
         {0},
         {{B("220 x\r\n"), B("AUTH TLS\r\n")}, {B("530 log in\r\n"), {0}}},
         STARTTLS_REFUSED,
         "answers AUTH TLS with: 530 log in"},
        {TARGET_NNTP,
         {0},
         {{B("200 x\r\n"), B("CAPABILITIES\r\n")}, {B("101 x\r\nREADER\r\n.\r\n"), {0}}},
         STARTTLS_REFUSED,
         "does not offer STARTTLS"},
        {TARGET_NNTP, {0}, {{B("502 no\r\n"), {0}}}, STARTTLS_REFUSED, "greets with: 502 no"},
        {TARGET_SIEVE,
         {0},
         {{B("\"SIEVE\" \"\"\r\nOK\r\n"), {0}}},
         STARTTLS_REFUSED,
         "does not offer STARTTLS"},
        {TARGET_SIEVE, {0}, {{B("BYE \"full\"\r\n"), {0}}}, STARTTLS_REFUSED, "greets with: BYE"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x0e\x02\x01\x01\x78\x09\x0a\x01\x34\x04\0\x04\x02no"), {0}}},
         STARTTLS_REFUSED,
         "unavailable: TLS is not set up\" (52): no"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x0e\x02\x01\0\x78\x09\x0a\x01\x34\x04\0\x04\x02no"), {0}}},
         STARTTLS_REFUSED,
         "says good-bye"},
        {TARGET_POSTGRES, POSTGRES_REQUEST, {{B("N"), {0}}}, STARTTLS_REFUSED, "no certificate"},
        {TARGET_POSTGRES,
         POSTGRES_REQUEST,
         {{B("E\0\0\0\x19SFATAL\0Mtoo many\0\0\0\0\0"), {0}}},
         STARTTLS_REFUSED,
         "too many"},
        {TARGET_POSTGRES, POSTGRES_REQUEST, {{B("EFATAL\n"), {0}}}, STARTTLS_REFUSED, "FATA"},
        {TARGET_MYSQL,
         {0},
         {{B("\x17\0\0\0" MYSQL_TAIL("\xff\xf7")), {0}}},
         STARTTLS_REFUSED,
         "does not offer TLS"},
        {TARGET_MYSQL,
         {0},
         {{B("\x0a\0\0\0\xff\x6a\x04"
             "blocked"),
           {0}}},
         STARTTLS_REFUSED,
         "greets with: blocked"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{B(XMPP_STREAM "<stream:features><bind/></stream:features>"), {0}}},
         STARTTLS_REFUSED,
         "does not offer starttls"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{B(XMPP_STREAM "<stream:features/>"), {0}}},
         STARTTLS_REFUSED,
         "does not offer"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{B(XMPP_STREAM "<stream:error>"), {0}}},
         STARTTLS_REFUSED,
         "ends the stream"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{XMPP_OFFER, XMPP_REQUEST},
          {B("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), {0}}},
         STARTTLS_REFUSED,
         "a failure"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        play(&bad[i], SIZE_MAX / 2);
        play(&bad[i], 1);
    }
}

static void what_is_said_behind_the_consent_is_named(void **state)
{
    (void)state;
    static const struct dialogue bad[] = {
        {TARGET_SMTP,
         {0},
         {{B("220 x\r\n"), B("EHLO holdfast.invalid\r\n")},
          {B("250-x\r\n250 STARTTLS\r\n"), B("STARTTLS\r\n")},
          {B("220 go\r\n250 AUTH PLAIN\r\n"), {0}}},
         STARTTLS_INJECTED,
         "250 AUTH PLAIN"},
        {TARGET_IMAP,
         {0},
         {{B("* OK\r\n"), B("a1 CAPABILITY\r\n")},
          {B("* CAPABILITY STARTTLS\r\na1 OK done\r\n"), B("a2 STARTTLS\r\n")},
          {B("a2 OK go\r\n* CAPABILITY\r\n"), {0}}},
         STARTTLS_INJECTED,
         "* CAPABILITY"},
        {TARGET_POP3,
         {0},
         {{B("+OK\r\n"), B("CAPA\r\n")},
          {B("-ERR\r\n"), B("STLS\r\n")},
          {B("+OK\r\n+OK\r\n"), {0}}},
         STARTTLS_INJECTED,
         "+OK"},
        {TARGET_FTP,
         {0},
         {{B("220\r\n"), B("AUTH TLS\r\n")}, {B("234\r\n230 in\r\n"), {0}}},
         STARTTLS_INJECTED,
         "230 in"},
        {TARGET_NNTP,
         {0},
         {{B("200 x\r\n"), B("CAPABILITIES\r\n")},
          {B("500\r\n"), B("STARTTLS\r\n")},
          {B("382 go\r\nx"), {0}}},
         STARTTLS_INJECTED,
         "consent to TLS: x"},
        {TARGET_SIEVE,
         {0},
         {{B("\"STARTTLS\"\r\nOK\r\n"), B("STARTTLS\r\n")}, {B("OK\r\n\"SASL\"\r\n"), {0}}},
         STARTTLS_INJECTED,
         "SASL"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0\x30"), {0}}},
         STARTTLS_INJECTED,
         "consent to TLS: 0"},
        {TARGET_POSTGRES, POSTGRES_REQUEST, {{B("SE\0\0"), {0}}}, STARTTLS_INJECTED, "E\\x00"},
        {TARGET_MYSQL,
         {0},
         {{B("\x17\0\0\0" MYSQL_TAIL("\xff\xff") "x"), {0}}},
         STARTTLS_INJECTED,
         "consent to TLS: x"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{XMPP_OFFER, XMPP_REQUEST}, {B("<proceed/><success/>"), {0}}},
         STARTTLS_INJECTED,
         "<success/>"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        play(&bad[i], SIZE_MAX / 2);
}

static void an_answer_before_the_question_is_refused(void **state)
{
    (void)state;
    static const struct dialogue bad[] = {
        {TARGET_SMTP,
         {0},
         {{B("220 x\r\n250 STARTTLS\r\n"), {0}}},
         STARTTLS_PROTOCOL,
         "answers before it was asked: 250 STARTTLS"},
        {TARGET_SIEVE,
         {0},
         {{B("\"STARTTLS\"\r\nOK\r\nOK\r\n"), {0}}},
         STARTTLS_PROTOCOL,
         "before it was asked"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{B(XMPP_STREAM "<features><starttls/></features><proceed/>"), {0}}},
         STARTTLS_PROTOCOL,
         "before it was asked: <proceed/>"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        play(&bad[i], SIZE_MAX / 2);
}

static void something_else_is_told_apart(void **state)
{
    (void)state;
    static const struct dialogue bad[] = {
        {TARGET_SMTP,
         {0},
         {{B("HTTP/1.1 400 Bad Request\r\n"), {0}}},
         STARTTLS_PROTOCOL,
         "three digits, not: HTTP/1.1 400"},
        {TARGET_SMTP, {0}, {{B("220-x\r\n250 y\r\n"), {0}}}, STARTTLS_PROTOCOL, "three digits"},
        {TARGET_SMTP, {0}, {{B("2200 x\r\n"), {0}}}, STARTTLS_PROTOCOL, "2200 x"},
        {TARGET_SMTP, {0}, {{B("\r\n"), {0}}}, STARTTLS_PROTOCOL, "three digits"},
        {TARGET_SMTP, {0}, {{B("354 more\r\n"), {0}}}, STARTTLS_PROTOCOL, "greets with"},
        {TARGET_FTP, {0}, {{B("SSH-2.0-OpenSSH\r\n"), {0}}}, STARTTLS_PROTOCOL, "SSH-2.0"},
        {TARGET_IMAP, {0}, {{B("+OK ready\r\n"), {0}}}, STARTTLS_PROTOCOL, "greeting of IMAP"},
        {TARGET_IMAP,
         {0},
         {{B("* OK\r\n"), B("a1 CAPABILITY\r\n")}, {B("250 x\r\n"), {0}}},
         STARTTLS_PROTOCOL,
         "line of IMAP"},
        {TARGET_POP3, {0}, {{B("220 x\r\n"), {0}}}, STARTTLS_PROTOCOL, "+OK or -ERR"},
        {TARGET_NNTP, {0}, {{B("* OK\r\n"), {0}}}, STARTTLS_PROTOCOL, "three digits"},
        {TARGET_SIEVE, {0}, {{B("220 x\r\n"), {0}}}, STARTTLS_PROTOCOL, "ManageSieve"},
        {TARGET_LDAP, LDAP_REQUEST, {{B("220 x\r\n"), {0}}}, STARTTLS_PROTOCOL, "220 x"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x80\x02\x01\x01\x78"), {0}}},
         STARTTLS_PROTOCOL,
         "message of LDAP"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x82\xff\xff\x02\x01"), {0}}},
         STARTTLS_PROTOCOL,
         "endless"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\0\x04\0\x04\0"), {0}}},
         STARTTLS_PROTOCOL,
         "not asked"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x03\x02\x01\x01"), {0}}},
         STARTTLS_PROTOCOL,
         "ExtendedResponse"},
        {TARGET_LDAP,
         LDAP_REQUEST,
         {{B("\x30\x0c\x02\x01\x01\x78\x07\x0a\x7f\0\x04\0\x04\0"), {0}}},
         STARTTLS_PROTOCOL,
         "ExtendedResponse"},
        {TARGET_POSTGRES, POSTGRES_REQUEST, {{B("H"), {0}}}, STARTTLS_PROTOCOL, "S or N, not: H"},
        {TARGET_MYSQL, {0}, {{B("220 mail.example\r\n"), {0}}}, STARTTLS_PROTOCOL, "220 mail"},
        {TARGET_MYSQL, {0}, {{B("\x02\0\0\0\x09x"), {0}}}, STARTTLS_PROTOCOL, "of MySQL"},
        {TARGET_MYSQL,
         {0},
         {{B("\x06\0\0\0\x0a"
             "8\0xyz"),
           {0}}},
         STARTTLS_PROTOCOL,
         "cut short"},
        {TARGET_MYSQL, {0}, {{B("\x01\0\0\0\x0a"), {0}}}, STARTTLS_PROTOCOL, "of MySQL"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{B("HTTP/1.1 400"), {0}}},
         STARTTLS_PROTOCOL,
         "stream of XMPP"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{B("\0\0\0\0"), {0}}},
         STARTTLS_PROTOCOL,
         "stream of XMPP"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{B("<!DOCTYPE x [<!ENTITY"), {0}}},
         STARTTLS_PROTOCOL,
         "XMPP forbids"},
        {TARGET_XMPP_CLIENT,
         XMPP_OPEN("jabber:client"),
         {{XMPP_OFFER, XMPP_REQUEST}, {B("<message/>"), {0}}},
         STARTTLS_PROTOCOL,
         "<message/>"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        play(&bad[i], SIZE_MAX / 2);
}

/* However long a server talks, it comes to an end. */
static void endless_talk_ends(void **state)
{
    (void)state;
    static const char *const chatter[TARGET_PROTOCOL_COUNT] = {
        [TARGET_SMTP] = "220-more\r\n",
        [TARGET_LMTP] = "x",
        [TARGET_IMAP] = "y",
        [TARGET_POP3] = "z",
        [TARGET_FTP] = "120 wait\r\n",
        [TARGET_LDAP] = "\x30\x82\x0f\xff",
        [TARGET_XMPP_CLIENT] = "<a>",
        [TARGET_XMPP_SERVER] = " ",
        [TARGET_POSTGRES] = "E",
        [TARGET_MYSQL] = "m",
        [TARGET_SIEVE] = "\"a\"\r\n",
        [TARGET_NNTP] = "2",
    };

    for (int i = TARGET_SMTP; i < TARGET_PROTOCOL_COUNT; i++) {
        enum starttls_status status = STARTTLS_WANT_READ;
        struct starttls starttls;
        size_t sent = 0;
        starttls_init(&starttls, i, "chat.example");
        for (; status == STARTTLS_WANT_READ && sent < 100000; sent += strlen(chatter[i]))
            status = starttls_feed(&starttls, (const uint8_t *)chatter[i], strlen(chatter[i]));
        if (status == STARTTLS_WANT_READ || status == STARTTLS_DONE)
            fail_msg("%s: %zu bytes, status %d", target_protocol_name(i), sent, (int)status);
        assert_true(strlen(starttls.reason) > 0);
    }
}

static void without_a_protocol_tls_begins_at_once(void **state)
{
    (void)state;
    struct starttls starttls;

    starttls_init(&starttls, TARGET_TLS, "x");
    assert_int_equal(starttls_feed(&starttls, NULL, 0), STARTTLS_DONE);
    assert_int_equal(starttls.output_size, 0);
    starttls_init(&starttls, TARGET_SMTP, "x");
    assert_int_equal(starttls_feed(&starttls, NULL, 0), STARTTLS_WANT_READ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_that_refuse),
        cmocka_unit_test(what_is_said_behind_the_consent_is_named),
        cmocka_unit_test(an_answer_before_the_question_is_refused),
        cmocka_unit_test(something_else_is_told_apart),
        cmocka_unit_test(endless_talk_ends),
        cmocka_unit_test(without_a_protocol_tls_begins_at_once),
        cmocka_unit_test(servers_that_consent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
