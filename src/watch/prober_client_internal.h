/* Control's side of the prober from inside:
 *
 *   prober_client.c            the process, requests and answers
 *   prober_client_documents.c  what it is told of files, and what it has fetched */
#pragma once

#include "base/buffer.h"
#include "base/map.h"
#include "watch/prober_client.h"

#define OUTPUT_MAX (1u << 20) /* of lines; what is in files comes on top */

struct request {
    struct request *next;
    uint64_t id;
    json_t *body;
    json_t *endpoints;
    prober_answer_fn *answer; /* NULL: nobody waits */
    void *context;
    unsigned deaths;
    bool patient;
};

struct queue {
    struct request *first, *last;
    size_t count;
};

/* What a file holds, kept for the next process. */
struct content {
    uint8_t *data; /* NULL: `trouble` */
    size_t size;
    char trouble[160];
    bool told;
};

struct prober_client {
    struct loop *loop;
    struct prober_client_host host;
    struct prober_limits limits;
    uint8_t socket_handler, death_handler;
    struct timer turn, silence;
    pid_t pid;
    int pidfd, fd;
    unsigned starts, failures;
    uint64_t started_ns, next_id;
    bool wants_room;
    bool replaced; /* ended by us for its limits: nobody's fault */
    struct buffer input, output;
    struct queue waiting, patient, under_way;
    size_t patient_under_way;
    struct map contents; /* by key */
    size_t untold;       /* of them, to the process that runs */
};

/* ---- prober_client.c ---- */
void client_flush(struct prober_client *client);
void client_tell(struct prober_client *client, const char *text); /* people */
bool client_text_printable(const char *text, size_t size);

/* ---- prober_client_documents.c ---- */
/* What requests need goes before them. */
void client_tell_contents(struct prober_client *client);
void client_tell_contents_again(struct prober_client *client); /* to a new process */
void client_free_contents(struct prober_client *client);
/* A line about a document: 1 it was, 0 it was about something else, -1 it breaks the rules. */
int client_take_document(struct prober_client *client, const json_t *line, const uint8_t *bytes,
                         size_t size);
