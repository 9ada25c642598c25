/* The answer of `holdfast keylife`: all bounds side by side, and the one that decides. */
#include "cmd/keylife.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/quantity.h"
#include "base/table.h"

#define DRAFT     "draft-irtf-cfrg-aead-limits"
#define TEXT_MAX  256
#define GIBIBYTE  1073741824.0
#define SHOWN_MAX (2 * QUANTITY_TEXT_MAX)

struct row {
    const char *id, *title;
    struct key_bound bound;
    bool decides; /* it may: the rest is shown to compare with */
    char formula[TEXT_MAX];
    const char *source;
};

enum { ROW_CONFIDENTIALITY, ROW_FLEET, ROW_SEQUENCE, ROW_BIRTHDAY, ROW_COUNT };

struct report {
    const struct keylife *life;
    struct row rows[ROW_COUNT];
    size_t count;
    const struct row *decides;
};

/* ---- formulas ---- */

static double blocks_per_record(const struct key_question *question)
{
    return ceil((question->record_size + 1) * 8 / question->block_bits) + 1;
}

static void describe_confidentiality(struct row *row, const struct key_question *question)
{
    unsigned n = question->block_bits;
    double blocks = blocks_per_record(question);

    switch (question->cipher) {
    case KEY_AES_GCM:
        row->source = DRAFT " 5.1, RFC 9846 5.5";
        ignore(
            snprintf(row->formula, sizeof row->formula,
                     "q <= (sqrt(p) * 2^%g - 1) / (L + 1), L = %.0f blocks of %u bits per record",
                     (n + 1) / 2.0, blocks, n));
        return;
    case KEY_CHACHA20_POLY1305:
        row->source = DRAFT " 5.2, RFC 9846 5.5";
        ignore(snprintf(row->formula, sizeof row->formula,
                        "no bound: the block function is not a permutation"));
        return;
    case KEY_AES_CCM:
    case KEY_AES_CCM_8:
        row->source = question->cipher == KEY_AES_CCM ? DRAFT " 5.3" : DRAFT " 5.4";
        ignore(snprintf(row->formula, sizeof row->formula,
                        "q <= sqrt(p) * 2^%g / L, L = %.0f blocks of %u bits per record",
                        n / 2.0 - 1, blocks, n));
        return;
    case KEY_CBC:
        row->source = "birthday bound; Sweet32 (CVE-2016-2183) for 64 bits";
        ignore(snprintf(row->formula, sizeof row->formula,
                        "blocks <= sqrt(p) * 2^%g, blocks of %u bits", (n + 1) / 2.0, n));
        return;
    }
}

static struct row *add_row(struct report *report, const char *id, const char *title,
                           struct key_bound bound, bool decides)
{
    struct row *row = &report->rows[report->count++];

    *row = (struct row){.id = id, .title = title, .bound = bound, .decides = decides};
    return row;
}

static void add_fleet(struct report *report)
{
    const struct keylife *life = report->life;
    struct row *row = add_row(report, "fleet", "one key of many",
                              key_bound_fleet(&life->question, life->fleet_bytes), true);

    row->source = DRAFT " 6";
    ignore(snprintf(row->formula, sizeof row->formula,
                    isinf(row->bound.blocks)
                        ? "no bound for this cipher"
                        : "blocks <= p * 2^%u / sigma, sigma = all blocks of the fleet%s",
                    life->question.block_bits - 1,
                    life->tls12 ? " (TLS 1.2 adds (q sigma + q^2) / 2^(k+26): negligible)" : ""));
}

static void add_sequence(struct report *report)
{
    const struct keylife *life = report->life;
    struct row *row = add_row(report, "sequence-number", "sequence number",
                              key_bound_sequence(&life->question, life->sequence_bits), true);

    row->source = life->tls12 ? "RFC 5246 6.1" : "RFC 9846 5.3";
    ignore(snprintf(row->formula, sizeof row->formula, "q <= 2^%u: it must not wrap",
                    life->sequence_bits));
}

static void take(struct report *report, const struct keylife *life)
{
    *report = (struct report){.life = life};
    describe_confidentiality(add_row(report, "confidentiality", "one key",
                                     key_bound_confidentiality(&life->question), true),
                             &life->question);
    if (life->fleet_bytes > 0)
        add_fleet(report);
    add_sequence(report);
    if (life->question.cipher != KEY_CHACHA20_POLY1305) {
        struct row *row = add_row(report, "block-collision", "(equal blocks likely)",
                                  key_bound_birthday(&life->question), false);
        row->source = "birthday bound";
        ignore(snprintf(row->formula, sizeof row->formula,
                        "2^%g blocks of %u bits, data alone: %.4g GiB",
                        life->question.block_bits / 2.0, life->question.block_bits,
                        row->bound.bytes / GIBIBYTE));
    }
    report->decides = &report->rows[0];
    for (size_t i = 1; i < report->count; i++) {
        if (report->rows[i].decides && report->rows[i].bound.bytes < report->decides->bound.bytes)
            report->decides = &report->rows[i];
    }
}

/* ---- what follows from it ---- */

/* Where this program renews by itself: its rule is in blocks and records (key_limits_for). */
static double renewed_here(const struct keylife *life)
{
    struct key_limits limits =
        key_limits_for(life->question.cipher, life->question.log2_probability, life->fleet_bytes,
                       life->question.log2_probability);
    double per_record = (double)key_blocks((size_t)life->question.record_size);
    double records = (double)limits.records_soft;

    if (limits.blocks_soft == 0)
        return INFINITY;
    records = fmin(records, (double)limits.blocks_soft / per_record);
    return records * life->question.record_size;
}

/* The records and ciphers that are not of this world, or not carried, have no such rule. */
static bool carried_here(const struct keylife *life)
{
    return (life->question.cipher == KEY_AES_GCM ||
            life->question.cipher == KEY_CHACHA20_POLY1305) &&
           life->question.block_bits == 128 && life->sequence_bits == 64;
}

static const char *sequence_part(const struct report *report, char text[TEXT_MAX])
{
    const struct key_question *question = &report->life->question;
    double wrap = key_bound_sequence(question, report->life->sequence_bits).records;
    double other = report->decides->bound.records;
    char count[QUANTITY_TEXT_MAX];

    if (strcmp(report->decides->id, "sequence-number") == 0)
        ignore(snprintf(text, TEXT_MAX,
                        "its %u bits decide: it would wrap before any other bound is reached",
                        report->life->sequence_bits));
    else
        ignore(snprintf(text, TEXT_MAX,
                        "its %u bits play no part: the key must go %s times earlier than it wraps",
                        report->life->sequence_bits, quantity_show_count(count, wrap / other)));
    return text;
}

static const char *renewal_way(const struct keylife *life)
{
    return life->tls12
               ? "renegotiation where both sides allow it, else a new connection"
               : "a KeyUpdate by whoever sends; before the bound it is a MUST (RFC 9846 5.5)";
}

static double keys_needed(const struct report *report)
{
    return fmax(1, ceil(report->life->volume / report->decides->bound.bytes));
}

/* ---- for people ---- */

static const char *both_units(char text[SHOWN_MAX], double bytes)
{
    char decimal[QUANTITY_TEXT_MAX], binary[QUANTITY_TEXT_MAX];

    if (isinf(bytes))
        return quantity_show_bytes(text, bytes);
    ignore(snprintf(text, SHOWN_MAX, "%s (%s)", quantity_show_bytes(decimal, bytes),
                    quantity_show_binary(binary, bytes)));
    return text;
}

static void print_rows(const struct report *report)
{
    static const char *const timed[] = {"BOUND", "RECORDS", "DATA", "LASTS", "", NULL};
    static const char *const plain[] = {"BOUND", "RECORDS", "DATA", "", NULL};
    double rate = report->life->rate;
    struct table table;
    char text[SHOWN_MAX];

    table_init(&table, rate > 0 ? timed : plain);
    for (size_t i = 0; i < report->count; i++) {
        const struct row *row = &report->rows[i];
        table_cell(&table, CELL_PLAIN, "%s", row->title);
        table_cell(&table, CELL_RIGHT, "%s", quantity_show_count(text, row->bound.records));
        table_cell(&table, CELL_RIGHT, "%s", both_units(text, row->bound.bytes));
        if (rate > 0)
            table_cell(&table, CELL_RIGHT, "%s", quantity_show_time(text, row->bound.bytes / rate));
        table_cell(&table, CELL_GOOD, "%s", row == report->decides ? "decides" : "");
    }
    table_print(&table, stdout);
    table_fini(&table);
}

static void print_answer(const struct report *report)
{
    const struct keylife *life = report->life;
    double bytes = report->decides->bound.bytes;
    char data[SHOWN_MAX], records[QUANTITY_TEXT_MAX], time[QUANTITY_TEXT_MAX];

    if (isinf(bytes)) {
        printf("\nThe key need not be renewed for the data it has sent.\n");
        return;
    }
    printf("\nRenew before %s, %s records", both_units(data, bytes),
           quantity_show_count(records, report->decides->bound.records));
    if (life->rate > 0)
        printf(", which is after %s", quantity_show_time(time, bytes / life->rate));
    printf(".\n");
    if (life->volume > 0) {
        double keys = keys_needed(report);
        printf("%s take %s %s.\n", both_units(data, life->volume),
               quantity_show_count(records, keys), keys > 1 ? "keys" : "key");
    }
    if (carried_here(life) && !isinf(renewed_here(life)))
        printf("Holdfast renews its keys by itself after %s.\n",
               both_units(data, renewed_here(life)));
}

static void print_report(const struct report *report)
{
    const struct keylife *life = report->life;
    char text[TEXT_MAX];

    printf("%s, records of %.0f bytes, TLS %s, probability 2^%g\n\n", life->cipher,
           life->question.record_size, life->tls12 ? "1.2" : "1.3",
           life->question.log2_probability);
    print_rows(report);
    print_answer(report);
    printf("\nHow: %s.\n", renewal_way(life));
    printf("Sequence number: %s.\n", sequence_part(report, text));
    printf("One forged record is taken with probability 2^%.3g; it ends the connection.\n",
           key_log2_forgery(&life->question));
    printf(
        "\nFormulas (p probability, q records, L blocks of a record with its additional data):\n");
    for (size_t i = 0; i < report->count; i++)
        printf("  %s: %s  [%s]\n", report->rows[i].title, report->rows[i].formula,
               report->rows[i].source);
}

/* ---- for programs ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *row_to_json(const struct report *report, const struct row *row)
{
    json_t *object = json_object();

    json_set_text(object, "bound", row->id);
    ignore(json_object_set_new(object, "records", number(row->bound.records)));
    ignore(json_object_set_new(object, "blocks", number(row->bound.blocks)));
    ignore(json_object_set_new(object, "bytes", number(row->bound.bytes)));
    if (report->life->rate > 0)
        ignore(
            json_object_set_new(object, "seconds", number(row->bound.bytes / report->life->rate)));
    json_set_flag(object, "decides", row == report->decides);
    json_set_text(object, "formula", row->formula);
    json_set_text(object, "source", row->source);
    return object;
}

static void print_json(const struct report *report)
{
    const struct keylife *life = report->life;
    json_t *object = json_object(), *rows = json_array();
    char text[TEXT_MAX];

    json_set_text(object, "cipher", life->cipher);
    json_set_text(object, "tls", life->tls12 ? "1.2" : "1.3");
    ignore(json_object_set_new(object, "record_size", number(life->question.record_size)));
    ignore(
        json_object_set_new(object, "log2_probability", number(life->question.log2_probability)));
    json_set_number(object, "block_bits", life->question.block_bits);
    json_set_number(object, "sequence_bits", life->sequence_bits);
    json_set_text(object, "decides", report->decides->id);
    ignore(json_object_set_new(object, "bytes", number(report->decides->bound.bytes)));
    if (life->rate > 0)
        ignore(json_object_set_new(object, "seconds",
                                   number(report->decides->bound.bytes / life->rate)));
    if (life->volume > 0)
        ignore(json_object_set_new(object, "keys", number(keys_needed(report))));
    if (carried_here(life))
        ignore(json_object_set_new(object, "renewed_here_bytes", number(renewed_here(life))));
    ignore(json_object_set_new(object, "log2_forgery", number(key_log2_forgery(&life->question))));
    json_set_text(object, "renewal", renewal_way(life));
    json_set_text(object, "sequence_number", sequence_part(report, text));
    for (size_t i = 0; i < report->count; i++)
        ignore(json_array_append_new(rows, row_to_json(report, &report->rows[i])));
    ignore(json_object_set_new(object, "bounds", rows));
    client_print_json(stdout, object);
    json_decref(object);
}

int keylife_report(const struct keylife *life)
{
    struct report report;

    take(&report, life);
    if (life->json)
        print_json(&report);
    else
        print_report(&report);
    return 0;
}
