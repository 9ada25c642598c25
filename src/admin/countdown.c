#include "admin/countdown.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/html.h"
#include "base/map.h"
#include "base/string.h"
#include "watch/report_words.h"
#include "watch/target.h"

#define HOUR INT64_C(3600)
#define DAY  (24 * HOUR)

/* What is told of one target: the worst of its endpoints. */
struct card {
    char target[TARGET_TEXT_MAX];
    int64_t not_after; /* 0: unknown */
    const char *verdict;
    char text[320], next[320];
    size_t endpoints;
    int64_t checked_at;
};

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"refresh\" content=\"60\">\n<title>Countdown</title>\n<style>\n"
    ":root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--text:#16202c;--dim:#5c6b7a;"
    "--ok:#1a7f4b;--warning:#a86200;--critical:#c0262d;--unknown:#5c6b7a}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#12161b;--card:#1b222a;--text:#e8edf2;"
    "--dim:#9aa8b5;--ok:#4cc38a;--warning:#f0a832;--critical:#ff6b6b;--unknown:#9aa8b5}}\n"
    "*{box-sizing:border-box}body{margin:0;padding:1.25rem;background:var(--back);"
    "color:var(--text);font:16px/1.45 system-ui,sans-serif}\n"
    "header,footer{max-width:72rem;margin:0 auto;color:var(--dim)}h1{margin:0 0 "
    "1rem;font-size:1.25rem;"
    "color:var(--text)}\n"
    "main{max-width:72rem;margin:0 auto;display:grid;gap:1rem;"
    "grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}\n"
    "article{background:var(--card);border-radius:.75rem;padding:1rem 1.1rem;border-left:.4rem "
    "solid "
    "var(--tone);box-shadow:0 1px 3px #0002;min-width:0}\n"
    "article h2{margin:0;font-size:1rem;font-weight:600;overflow-wrap:anywhere}\n"
    ".left{margin:.35rem 0;font-size:2.6rem;line-height:1;font-weight:700;color:var(--tone)}\n"
    ".left small{font-size:1rem;font-weight:500;margin-left:.35rem}\n"
    "p{margin:.3rem 0;overflow-wrap:anywhere}.dim{color:var(--dim);font-size:.875rem}\n"
    ".one{grid-template-columns:minmax(0,30rem);justify-content:center}.one "
    ".left{font-size:5rem}a{color:inherit}\n"
    ".ok{--tone:var(--ok)}.warning{--tone:var(--warning)}.critical{--tone:var(--critical)}"
    ".unknown,.pending{--tone:var(--unknown)}\n"
    "</style>\n</head>\n<body>\n";

/* ---- collecting ---- */

struct cards {
    struct card *items;
    size_t count, capacity;
    struct map known; /* target → index + 1 */
};

/* Anything is worse than what is not known yet. */
static bool is_worse(const char *verdict, const char *than)
{
    int code = report_verdict_code(verdict), other = report_verdict_code(than);

    return code >= 0 && (other < 0 || report_worse(other, code) != other);
}

static struct card *card_of(struct cards *cards, const char *target)
{
    size_t index = (size_t)(uintptr_t)map_get(&cards->known, target);

    if (index > 0)
        return &cards->items[index - 1];
    if (cards->count == cards->capacity) {
        size_t capacity = cards->capacity == 0 ? 32 : 2 * cards->capacity;
        struct card *larger = realloc(cards->items, capacity * sizeof *larger);
        if (larger == NULL)
            return NULL;
        cards->items = larger;
        cards->capacity = capacity;
    }
    if (!map_put(&cards->known, target, (void *)(uintptr_t)(cards->count + 1)))
        return NULL;
    struct card *card = &cards->items[cards->count++];
    *card = (struct card){.verdict = "pending"};
    string_copy(card->target, sizeof card->target, target);
    return card;
}

static void take(struct card *card, const struct watcher_place *place)
{
    card->endpoints++;
    if (place->not_after != 0 && (card->not_after == 0 || place->not_after < card->not_after))
        card->not_after = place->not_after;
    if (place->checked_at > card->checked_at)
        card->checked_at = place->checked_at;
    if (is_worse(place->verdict, card->verdict)) {
        card->verdict = place->verdict;
        string_copy(card->text, sizeof card->text, place->text);
        string_copy(card->next, sizeof card->next, place->next);
    }
}

static bool collect(struct cards *cards, const struct watcher *watcher, const char *host)
{
    struct watcher_cursor cursor = {0};
    struct watcher_place place;

    while (watcher_next(watcher, &cursor, &place)) {
        if (place.discovered || (host != NULL && !target_has_host(place.target, host)))
            continue;
        struct card *card = card_of(cards, place.target);
        if (card == NULL)
            return false;
        take(card, &place);
    }
    return true;
}

static int64_t urgency(const struct card *card)
{
    return card->not_after != 0 ? card->not_after : INT64_MAX;
}

/* What is broken first, then by the end. */
static int compare(const void *a, const void *b)
{
    const struct card *left = a, *right = b;
    bool broken_left = strcmp(left->verdict, "critical") == 0,
         broken_right = strcmp(right->verdict, "critical") == 0;

    if (broken_left != broken_right)
        return broken_left ? -1 : 1;
    if (urgency(left) != urgency(right))
        return urgency(left) < urgency(right) ? -1 : 1;
    return strcmp(left->target, right->target);
}

/* ---- writing ---- */

/* In days, near the end in hours. */
static void write_left(struct buffer *html, const struct card *card, int64_t now)
{
    int64_t seconds = card->not_after - now, away = seconds < 0 ? -seconds : seconds;
    bool hours = away < 2 * DAY;
    int64_t left = away / (hours ? HOUR : DAY);

    if (card->not_after == 0)
        buffer_append_text(html, "<p class=\"left\">?</p>\n");
    else
        buffer_printf(html, "<p class=\"left\">%lld<small>%s %s</small></p>\n", (long long)left,
                      !hours      ? "days"
                      : left == 1 ? "hour"
                                  : "hours",
                      seconds < 0 ? "over" : "left");
}

static void write_date(struct buffer *html, const char *before, int64_t moment)
{
    char text[32];
    time_t seconds = moment;
    struct tm parts;

    if (moment == 0)
        return;
    ignore((long)strftime(text, sizeof text, "%Y-%m-%d %H:%M", gmtime_r(&seconds, &parts)));
    buffer_printf(html, "<p class=\"dim\">%s %s UTC</p>\n", before, text);
}

static void write_card(struct buffer *html, const struct card *card, int64_t now)
{
    buffer_printf(html, "<article class=\"%s\">\n<h2>", card->verdict);
    html_escape(html, card->target);
    buffer_append_text(html, "</h2>\n");
    write_left(html, card, now);
    if (card->text[0] != '\0') {
        buffer_append_text(html, "<p>");
        html_escape(html, card->text);
        buffer_append_text(html, "</p>\n");
    }
    if (card->next[0] != '\0') {
        buffer_append_text(html, "<p class=\"dim\">");
        html_escape(html, card->next);
        buffer_append_text(html, "</p>\n");
    }
    write_date(html, "ends", card->not_after);
    write_date(html, "checked", card->checked_at);
    if (card->endpoints > 1)
        buffer_printf(html, "<p class=\"dim\">%zu endpoints</p>\n", card->endpoints);
    buffer_append_text(html, "</article>\n");
}

bool countdown_page(struct buffer *html, const struct watcher *watcher, const char *host,
                    int64_t now)
{
    struct cards cards = {.items = NULL};
    bool whole = true;

    map_init(&cards.known);
    if (watcher != NULL)
        whole = collect(&cards, watcher, host);
    buffer_append_text(html, head);
    buffer_append_text(html, "<header><h1>Days left</h1></header>\n<main");
    buffer_append_text(html, cards.count == 1 ? " class=\"one\">\n" : ">\n");
    if (cards.count > 0)
        qsort(cards.items, cards.count, sizeof *cards.items, compare);
    for (size_t i = 0; i < cards.count; i++)
        write_card(html, &cards.items[i], now);
    if (cards.count == 0)
        buffer_append_text(html, "<p>Nothing is watched here.</p>\n");
    if (!whole)
        buffer_append_text(html, "<p>Out of memory: this is not all.</p>\n");
    buffer_append_text(html, "</main>\n</body>\n</html>\n");
    free(cards.items);
    map_fini(&cards.known);
    return host == NULL || cards.count > 0;
}
