/* What takes connections of its own: which versions and suites are accepted, whose order counts,
 * resumption, renegotiation, protection against fallback, key exchange that withstands quantum
 * computers. One connection at a time; most are a ClientHello and its answer (tls/probe_hello.h).
 *
 * Suites are found by elimination: all are offered, the one chosen is struck from the list, until
 * the server refuses what is left. */
#include "watch/prober_internal.h"

#include <stdlib.h>
#include <string.h>

#include "tls/suite_catalogue.h"

#define CONNECTIONS_MAX 220
#define SILENCES_MAX    3 /* time-outs until we believe that no answer will come */
#define SUITES_MAX      160

enum step {
    STEP_POST_QUANTUM,
    STEP_SUITES, /* of one version after the other, from the highest */
    STEP_PREFERENCE,
    STEP_FALLBACK,
    STEP_TICKET,
    STEP_ID_FIRST,
    STEP_ID_SECOND,
    STEP_RENEGOTIATION,
    STEP_END
};

struct inventory {
    enum step step;
    unsigned version; /* index, of STEP_SUITES */
    bool begun;       /* something of this version was accepted */
    uint16_t suites[SUITES_MAX];
    size_t suite_count;
    uint16_t ordered[2]; /* the two that the server chose first, of one version */
    uint16_t ordered_version;
    uint8_t sentinel; /* of an answer in TLS 1.2 */
    unsigned silences;
    struct buffer answer;
    struct probe_session *session; /* by id */
    bool renegotiating;
};

static const uint16_t version_numbers[ENDPOINT_VERSIONS] = {0x0300, 0x0301, 0x0302, 0x0303, 0x0304};

enum { VERSION_TLS_1_2_INDEX = 3, VERSION_TLS_1_3_INDEX = 4 };

static struct endpoint_inventory *found(struct prober_job *job)
{
    return &job->endpoint->inventory;
}

static void next_connection(struct prober_job *job);

/* ---- what is asked ---- */

static bool step_wanted(const struct prober_job *job, enum step step)
{
    const struct checker_options *options = job->options;
    bool seen = job->endpoint->outcome == ENDPOINT_SEEN;

    switch (step) {
    case STEP_POST_QUANTUM:
    case STEP_FALLBACK:
        return options->deep;
    case STEP_SUITES:
    case STEP_PREFERENCE:
        return options->deep || options->ciphers;
    case STEP_TICKET:
    case STEP_ID_FIRST:
    case STEP_ID_SECOND:
        return seen && (options->deep || options->resumption);
    case STEP_RENEGOTIATION:
        return seen && (options->deep || options->renegotiation);
    case STEP_END:
        break;
    }
    return false;
}

/* Once per address: what it is capable of does not hang on the type of the key. A server that fails
 * every handshake of ours may still speak something older. */
bool inventory_wanted(const struct prober_job *job)
{
    const struct checker_options *options = job->options;
    bool asked = options->deep || options->ciphers || options->resumption || options->renegotiation;

    return asked && job->endpoint->key_type < 0 && job->inventory == NULL &&
           (job->endpoint->outcome == ENDPOINT_SEEN ||
            job->endpoint->outcome == ENDPOINT_HANDSHAKE_FAILED);
}

void inventory_free(struct inventory *inventory)
{
    if (inventory == NULL)
        return;
    buffer_fini(&inventory->answer);
    probe_session_free(inventory->session);
    free(inventory);
}

/* ---- suites ---- */

static void list_suites(struct inventory *inventory)
{
    size_t count;
    const struct suite_catalogue_entry *all = suite_catalogue(&count);
    bool tls13 = inventory->version == VERSION_TLS_1_3_INDEX;

    inventory->suite_count = 0;
    inventory->begun = false;
    for (size_t i = 0; i < count && inventory->suite_count < SUITES_MAX; i++) {
        if (suite_catalogue_tls13(all[i].id) == tls13)
            inventory->suites[inventory->suite_count++] = all[i].id;
    }
}

static bool strike(struct inventory *inventory, uint16_t suite)
{
    for (size_t i = 0; i < inventory->suite_count; i++) {
        if (inventory->suites[i] != suite)
            continue;
        inventory->suite_count--;
        memmove(&inventory->suites[i], &inventory->suites[i + 1],
                (inventory->suite_count - i) * sizeof inventory->suites[0]);
        return true;
    }
    return false;
}

static void note_suite(struct prober_job *job, uint16_t version, uint16_t suite)
{
    struct endpoint_inventory *out = found(job);
    struct inventory *inventory = job->inventory;

    if (out->suite_count == ENDPOINT_SUITES_MAX) {
        out->cut = true;
        return;
    }
    out->suites[out->suite_count] = suite_catalogue_name(suite);
    out->suite_versions[out->suite_count++] = version;
    if (!inventory->begun && inventory->ordered[1] == 0) {
        inventory->ordered[0] = suite;
        inventory->ordered_version = version;
    } else if (inventory->ordered[1] == 0 && inventory->ordered_version == version) {
        inventory->ordered[1] = suite;
    }
}

/* What this version had to say is known. */
static void version_over(struct prober_job *job, enum answer otherwise)
{
    struct inventory *inventory = job->inventory;

    found(job)->versions[inventory->version] = inventory->begun ? ANSWER_YES : otherwise;
    if (inventory->version == 0) {
        inventory->step++;
        return;
    }
    inventory->version--;
    list_suites(inventory);
}

static void note_answer(struct prober_job *job, const struct probe_hello_answer *answer)
{
    struct inventory *inventory = job->inventory;

    if (inventory->version != VERSION_TLS_1_3_INDEX && found(job)->compression != ANSWER_YES)
        found(job)->compression = answer->compression != 0 ? ANSWER_YES : ANSWER_NO;
    if (inventory->version == VERSION_TLS_1_2_INDEX)
        inventory->sentinel = answer->sentinel;
}

static void suites_answered(struct prober_job *job, enum probe_hello_result result,
                            const struct probe_hello_answer *answer)
{
    struct inventory *inventory = job->inventory;
    uint16_t version = version_numbers[inventory->version];

    if (result != PROBE_HELLO_ACCEPTED || answer->version != version ||
        !strike(inventory, answer->suite)) {
        version_over(job, ANSWER_NO);
        return;
    }
    note_answer(job, answer);
    note_suite(job, version, answer->suite);
    inventory->begun = true;
    if (inventory->suite_count == 0)
        version_over(job, ANSWER_NO);
}

/* ---- other questions that a hello answers ---- */

static void preference_answered(struct prober_job *job, enum probe_hello_result result,
                                const struct probe_hello_answer *answer)
{
    /* They were offered the other way round. */
    if (result == PROBE_HELLO_ACCEPTED && answer->suite == job->inventory->ordered[0])
        found(job)->server_preference = ANSWER_YES;
    else if (result == PROBE_HELLO_ACCEPTED && answer->suite == job->inventory->ordered[1])
        found(job)->server_preference = ANSWER_NO;
    job->inventory->step++;
}

static void fallback_answered(struct prober_job *job, enum probe_hello_result result,
                              const struct probe_hello_answer *answer)
{
    if (result == PROBE_HELLO_REFUSED && answer->alert == 86) /* inappropriate_fallback */
        found(job)->fallback_protected = ANSWER_YES;
    else if (result == PROBE_HELLO_ACCEPTED)
        found(job)->fallback_protected = ANSWER_NO;
    job->inventory->step++;
}

static void post_quantum_answered(struct prober_job *job, enum probe_hello_result result,
                                  const struct probe_hello_answer *answer)
{
    if (result == PROBE_HELLO_ACCEPTED && answer->group == PROBE_GROUP_X25519MLKEM768)
        found(job)->post_quantum = ANSWER_YES;
    else if (result != PROBE_HELLO_STRANGE)
        found(job)->post_quantum = ANSWER_NO;
    job->inventory->step++;
}

static void hello_answered(struct prober_job *job, enum probe_hello_result result,
                           const struct probe_hello_answer *answer)
{
    call_close(&job->call);
    switch (job->inventory->step) {
    case STEP_POST_QUANTUM:
        post_quantum_answered(job, result, answer);
        break;
    case STEP_SUITES:
        suites_answered(job, result, answer);
        break;
    case STEP_PREFERENCE:
        preference_answered(job, result, answer);
        break;
    case STEP_FALLBACK:
        fallback_answered(job, result, answer);
        break;
    case STEP_TICKET:
    case STEP_ID_FIRST:
    case STEP_ID_SECOND:
    case STEP_RENEGOTIATION:
    case STEP_END:
        break;
    }
    next_connection(job);
}

/* The highest version that was found, and the one below it that was found, too; 0: there is none.
 */
static uint16_t second_version(const struct endpoint_inventory *out)
{
    bool first = false;

    for (unsigned i = ENDPOINT_VERSIONS; i-- > 0;) {
        if (out->versions[i] == ANSWER_YES && first)
            return version_numbers[i];
        first |= out->versions[i] == ANSWER_YES;
    }
    return 0;
}

/* Is there something to ask at this step? Fills the hello. */
static bool make_hello(struct prober_job *job, struct probe_hello *hello, uint16_t suites[2])
{
    static const uint16_t hybrid[] = {PROBE_GROUP_X25519MLKEM768};
    struct inventory *inventory = job->inventory;

    *hello = (struct probe_hello){
        .server_name = job->endpoint->sni ? job->endpoint->name : NULL,
        .version = version_numbers[inventory->version],
        .suites = inventory->suites,
        .suite_count = inventory->suite_count,
    };
    switch (inventory->step) {
    case STEP_POST_QUANTUM:
        hello->groups = hybrid;
        hello->group_count = 1;
        return true;
    case STEP_SUITES:
        hello->compression = !inventory->begun && inventory->version < VERSION_TLS_1_3_INDEX;
        return true;
    case STEP_PREFERENCE:
        suites[0] = inventory->ordered[1];
        suites[1] = inventory->ordered[0];
        hello->version = inventory->ordered_version;
        hello->suites = suites;
        hello->suite_count = 2;
        return suites[0] != 0;
    case STEP_FALLBACK:
        inventory->version = 0;
        list_suites(inventory);
        hello->suite_count = inventory->suite_count;
        hello->version = second_version(found(job));
        hello->fallback = true;
        return hello->version != 0;
    case STEP_TICKET:
    case STEP_ID_FIRST:
    case STEP_ID_SECOND:
    case STEP_RENEGOTIATION:
    case STEP_END:
        break;
    }
    return false;
}

static void hello_opened(void *context)
{
    struct prober_job *job = context;
    uint8_t message[PROBE_HELLO_SIZE_MAX];
    struct probe_hello hello;
    uint16_t suites[2];

    size_t size = make_hello(job, &hello, suites) ? probe_hello_build(message, &hello) : 0;
    buffer_consume(&job->inventory->answer, job->inventory->answer.size);
    call_send(&job->call, message, size);
}

static void hello_received(void *context, const uint8_t *data, size_t size)
{
    struct prober_job *job = context;
    struct buffer *answer = &job->inventory->answer;
    struct probe_hello_answer what = {0};

    buffer_append(answer, data, size);
    enum probe_hello_result result =
        answer->failed ? PROBE_HELLO_STRANGE : probe_hello_read(answer->data, answer->size, &what);
    if (result != PROBE_HELLO_MORE)
        hello_answered(job, result, &what);
}

/* Closing is how many servers refuse. A silence tells nothing; what was asked stays unknown. */
static void hello_ended(void *context, enum call_end end)
{
    struct prober_job *job = context;
    struct inventory *inventory = job->inventory;

    if (end == CALL_CLOSED || end == CALL_BROKEN) {
        hello_answered(job, PROBE_HELLO_STRANGE, &(struct probe_hello_answer){0});
        return;
    }
    inventory->silences++;
    if (inventory->step == STEP_SUITES)
        version_over(job, ANSWER_UNKNOWN);
    else
        inventory->step++;
    next_connection(job);
}

/* ---- questions that take a handshake ---- */

static void session_over(struct prober_job *job, bool shaken)
{
    struct inventory *inventory = job->inventory;
    struct endpoint_inventory *out = found(job);
    struct probe_seen seen = {0};

    if (shaken && inventory->step == STEP_ID_FIRST)
        inventory->session = probe_session(job->probe);
    probe_take(job->probe, &seen);
    enum answer resumed = shaken && seen.resumed ? ANSWER_YES : ANSWER_NO;
    if (inventory->step == STEP_TICKET)
        out->resumes_ticket = resumed;
    if (inventory->step == STEP_ID_SECOND ||
        (inventory->step == STEP_ID_FIRST && inventory->session == NULL))
        out->resumes_id = resumed;
    if (inventory->step == STEP_RENEGOTIATION)
        out->client_renegotiation = inventory->renegotiating && shaken ? ANSWER_YES : ANSWER_NO;
    probe_seen_fini(&seen);
    probe_free(job->probe);
    job->probe = NULL;
    call_close(&job->call);
    inventory->step++;
    next_connection(job);
}

static void session_advance(struct prober_job *job, enum probe_status status)
{
    struct inventory *inventory = job->inventory;

    if (status == PROBE_DONE && inventory->step == STEP_RENEGOTIATION &&
        !inventory->renegotiating) {
        inventory->renegotiating = true;
        status = probe_renegotiate(job->probe) ? PROBE_WANT_READ : PROBE_FAILED;
    }
    if (status == PROBE_DONE)
        probe_close(job->probe); /* else the server forgets the session */
    prober_send(job);
    if (status != PROBE_WANT_READ)
        session_over(job, status == PROBE_DONE);
}

static void session_opened(void *context)
{
    struct prober_job *job = context;
    struct inventory *inventory = job->inventory;
    struct probe_offer offer = prober_offer(job);
    struct error error;

    inventory->renegotiating = false;
    if (inventory->step == STEP_TICKET)
        offer.resume = job->session;
    else
        offer.max_version = version_numbers[VERSION_TLS_1_2_INDEX];
    offer.no_tickets = inventory->step == STEP_ID_FIRST || inventory->step == STEP_ID_SECOND;
    if (inventory->step == STEP_ID_SECOND)
        offer.resume = inventory->session;
    if (probe_new(&job->probe, &offer, &error) == 0) {
        session_advance(job, probe_feed(job->probe, NULL, 0));
        return;
    }
    call_close(&job->call);
    inventory->step++;
    next_connection(job);
}

static void session_received(void *context, const uint8_t *data, size_t size)
{
    struct prober_job *job = context;

    session_advance(job, probe_feed(job->probe, data, size));
}

static void session_ended(void *context, enum call_end end)
{
    struct prober_job *job = context;

    if (job->probe != NULL && (end == CALL_CLOSED || end == CALL_BROKEN)) {
        session_advance(job, probe_end(job->probe, "closed"));
        return;
    }
    probe_free(job->probe);
    job->probe = NULL;
    job->inventory->silences++;
    job->inventory->step++;
    next_connection(job);
}

/* Does this step have a question, after what is known? */
static bool session_needed(struct prober_job *job)
{
    struct inventory *inventory = job->inventory;

    switch (inventory->step) {
    case STEP_TICKET:
        if (probe_session_has_ticket(job->session))
            return true;
        found(job)->resumes_ticket = ANSWER_NO;
        return false;
    case STEP_ID_FIRST:
    case STEP_RENEGOTIATION:
        return true;
    case STEP_ID_SECOND:
        return inventory->session != NULL;
    case STEP_POST_QUANTUM:
    case STEP_SUITES:
    case STEP_PREFERENCE:
    case STEP_FALLBACK:
    case STEP_END:
        break;
    }
    return false;
}

/* ---- one after the other ---- */

static bool step_needed(struct prober_job *job)
{
    struct probe_hello hello;
    uint16_t suites[2];

    if (!step_wanted(job, job->inventory->step))
        return false;
    return job->inventory->step <= STEP_FALLBACK ? make_hello(job, &hello, suites)
                                                 : session_needed(job);
}

/* A server of TLS 1.3 marks its answers in TLS 1.2; one of TLS 1.2 has nothing to mark there. */
static void conclude(struct prober_job *job)
{
    struct endpoint_inventory *out = found(job);

    if (out->versions[VERSION_TLS_1_3_INDEX] == ANSWER_YES &&
        out->versions[VERSION_TLS_1_2_INDEX] == ANSWER_YES)
        out->downgrade_sentinel = job->inventory->sentinel == 1 ? ANSWER_YES : ANSWER_NO;
    if (job->inventory->step != STEP_END)
        out->cut = true;
    prober_finish(job);
}

static void next_connection(struct prober_job *job)
{
    static const struct call_events hello = {hello_opened, hello_received, hello_ended};
    static const struct call_events session = {session_opened, session_received, session_ended};
    struct inventory *inventory = job->inventory;

    while (inventory->step < STEP_END && !step_needed(job))
        inventory->step++;
    if (inventory->step == STEP_END || inventory->silences == SILENCES_MAX ||
        found(job)->connections == CONNECTIONS_MAX) {
        conclude(job);
        return;
    }
    found(job)->connections++;
    call_open(&job->call, prober_caller(job->prober), job->endpoint, job->options->timeout_ms,
              inventory->step <= STEP_FALLBACK ? &hello : &session, job);
}

void inventory_start(struct prober_job *job)
{
    job->inventory = calloc(1, sizeof *job->inventory);
    if (job->inventory == NULL) {
        prober_finish(job);
        return;
    }
    job->inventory->version = VERSION_TLS_1_3_INDEX;
    job->inventory->sentinel = PROBE_HELLO_NO_SENTINEL;
    buffer_init(&job->inventory->answer, PROBE_HELLO_ANSWER_MAX);
    list_suites(job->inventory);
    next_connection(job);
}
