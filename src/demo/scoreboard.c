#include "demo/scoreboard.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/attributes.h"
#include "base/clock.h"
#include "base/string.h"

#define FRAME_LINES 15
#define LAST_SHOWN  66 /* columns: with what stands before it, a line of 80 */

struct scoreboard *scoreboard_new(void)
{
    void *memory = mmap(NULL, sizeof(struct scoreboard), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void scoreboard_free(struct scoreboard *board)
{
    if (board != NULL)
        ignore(munmap(board, sizeof *board));
}

/* Exponent and the next three bits: a bucket is 9 % wide. */
static unsigned bucket_of(uint64_t us)
{
    if (us < 8)
        return (unsigned)us;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(us);
    unsigned bucket = (exponent - 2) * 8 + (unsigned)(us >> (exponent - 3) & 7);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_end(unsigned bucket)
{
    return bucket < 8 ? bucket : (uint64_t)(bucket % 8 + 9) << (bucket / 8 - 1);
}

void scoreboard_latency(struct scoreboard *board, uint64_t latency_ns)
{
    uint64_t *slowest = &board->slowest_us[scoreboard_get(&board->change_now)];

    scoreboard_add(&board->latency[bucket_of(latency_ns / NS_PER_US)], 1);
    if (scoreboard_get(&board->begun_ns[scoreboard_get(&board->change_now)]) != 0 &&
        latency_ns / NS_PER_US > scoreboard_get(slowest))
        scoreboard_set(slowest, latency_ns / NS_PER_US);
}

void scoreboard_fault(struct scoreboard *board, uint64_t *field, const char *why)
{
    if (__atomic_exchange_n(&board->fault_taken, 1, __ATOMIC_RELAXED) == 0) {
        ignore(string_copy(board->fault, sizeof board->fault, why));
        __atomic_store_n(&board->fault_stands, 1, __ATOMIC_RELEASE);
    }
    scoreboard_add(field, 1);
}

const char *scoreboard_first_fault(const struct scoreboard *board)
{
    return __atomic_load_n(&board->fault_stands, __ATOMIC_ACQUIRE) != 0 ? board->fault : "";
}

void scoreboard_change_begins(struct scoreboard *board, enum demo_change change)
{
    scoreboard_set(&board->change_now, change);
    scoreboard_set(&board->begun_ns[change], clock_monotonic_ns());
}

/* Who reads the older words meanwhile has until the next change to do so. */
void scoreboard_change_ends(struct scoreboard *board, enum demo_change change, const char *words)
{
    uint64_t other = 1 - scoreboard_get(&board->words_at);

    scoreboard_set(&board->took_ns[change],
                   clock_monotonic_ns() - scoreboard_get(&board->begun_ns[change]));
    ignore(string_copy(board->words[other], WORDS_MAX, words));
    scoreboard_set(&board->words_at, other);
    scoreboard_add(&board->changes[change], 1);
}

struct changes_count scoreboard_changes(const struct scoreboard *board)
{
    struct changes_count count;

    for (int i = 0; i < CHANGE_COUNT; i++)
        count.of[i] = scoreboard_get(&board->changes[i]);
    return count;
}

uint64_t scoreboard_changes_since(const struct scoreboard *board,
                                  const struct changes_count *before)
{
    uint64_t total = 0;

    for (int i = 0; i < CHANGE_COUNT; i++)
        total += scoreboard_get(&board->changes[i]) - before->of[i];
    return total;
}

const char *scoreboard_last_change(const struct scoreboard *board)
{
    return board->words[scoreboard_get(&board->words_at)];
}

uint64_t scoreboard_percentile(const struct scoreboard *board, double share)
{
    uint64_t total = 0, sum = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        total += scoreboard_get(&board->latency[i]);
    for (unsigned i = 0; i < LATENCY_BUCKETS && total > 0; i++) {
        sum += scoreboard_get(&board->latency[i]);
        if ((double)sum >= share * (double)total)
            return bucket_end(i);
    }
    return 0;
}

static uint32_t open_sessions(const struct scoreboard *board)
{
    uint32_t total = 0;

    for (int i = 0; i < DEMO_VERSION_COUNT; i++)
        total += __atomic_load_n(&board->sessions[i], __ATOMIC_RELAXED);
    return total;
}

/* "1,234,567" */
static const char *grouped(char text[32], uint64_t number)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, number);
    char *at = text;

    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return text;
}

static double milliseconds(uint64_t us)
{
    return (double)us / 1000;
}

/* ---- one line ---- */

static void draw_line(const struct scoreboard *board, const struct scoreboard_frame *frame)
{
    const uint64_t *changes = board->changes;

    printf("%3" PRIu64 " s: sessions %u, certificates %" PRIu64 " (%" PRIu64
           " seen), relays killed %" PRIu64 ", reloads %" PRIu64 ", upgrades %" PRIu64
           ", messages %" PRIu64 ", p50 %.2f ms, p99 %.2f ms, lost: %" PRIu64,
           (uint64_t)(frame->elapsed_ns / NS_PER_S), open_sessions(board),
           scoreboard_get(&changes[CHANGE_CERTIFICATE]), scoreboard_get(&board->seen),
           scoreboard_get(&changes[CHANGE_KILL]), scoreboard_get(&changes[CHANGE_RELOAD]),
           scoreboard_get(&changes[CHANGE_UPGRADE]), scoreboard_get(&board->messages),
           milliseconds(scoreboard_percentile(board, 0.5)),
           milliseconds(scoreboard_percentile(board, 0.99)), scoreboard_get(&board->lost));
    if (scoreboard_get(&board->failed) > 0)
        printf(", changes that failed: %" PRIu64, scoreboard_get(&board->failed));
    putchar('\n');
}

/* ---- a frame of the terminal ---- */

#define BOLD  "\033[1m"
#define DIM   "\033[2m"
#define GREEN "\033[32m"
#define RED   "\033[31m"
#define PLAIN "\033[0m"
#define CLEAR "\033[K\n"
/* In a narrow terminal lines are cut: broken ones would make the frame higher than it is known to
 * be. */
#define WRAP_OFF "\033[?7l"
#define WRAP_ON  "\033[?7h"

static void draw_traffic(const struct scoreboard *board, const struct scoreboard_frame *frame)
{
    char number[32];

    printf("  sessions  " BOLD "%9s" PLAIN " of %u open: %u TLS 1.3, %u TLS 1.2" CLEAR,
           grouped(number, open_sessions(board)), frame->sessions_wanted,
           board->sessions[DEMO_TLS_1_3], board->sessions[DEMO_TLS_1_2]);
    printf("  messages  " BOLD "%9s" PLAIN " came back unaltered; p50 %.2f ms, p99 %.2f ms" CLEAR,
           grouped(number, scoreboard_get(&board->messages)),
           milliseconds(scoreboard_percentile(board, 0.5)),
           milliseconds(scoreboard_percentile(board, 0.99)));
    printf("  seen      " BOLD "%9s" PLAIN " new certificates by new connections",
           grouped(number, scoreboard_get(&board->seen)));
    if (scoreboard_get(&board->seen) > 0)
        printf(", the last after %.0f ms",
               milliseconds(scoreboard_get(&board->seen_delay_ns) / NS_PER_US));
    printf(CLEAR);
}

static void draw_change(const struct scoreboard *board, enum demo_change change, const char *name)
{
    uint64_t count = scoreboard_get(&board->changes[change]);
    bool is_last = scoreboard_get(&board->change_now) == (uint64_t)change &&
                   scoreboard_get(&board->begun_ns[change]) != 0;
    char number[32];

    printf("%c %-23s" BOLD "%8s" PLAIN, is_last ? '>' : ' ', name, grouped(number, count));
    if (count == 0)
        printf(DIM "%16s%18s" PLAIN CLEAR, "-", "-");
    else
        printf("%13.0f ms%15.0f ms" CLEAR,
               milliseconds(scoreboard_get(&board->took_ns[change]) / NS_PER_US),
               milliseconds(scoreboard_get(&board->slowest_us[change])));
}

static void draw_changes(const struct scoreboard *board)
{
    printf(DIM "  %-23s%8s%16s%18s" PLAIN CLEAR, "changed underneath", "times", "the last took",
           "slowest message");
    draw_change(board, CHANGE_CERTIFICATE, "certificate replaced");
    draw_change(board, CHANGE_KILL, "relay killed");
    draw_change(board, CHANGE_RELOAD, "configuration reloaded");
    draw_change(board, CHANGE_UPGRADE, "program upgraded");
}

static void draw_frame(const struct scoreboard *board, const struct scoreboard_frame *frame)
{
    uint64_t lost = scoreboard_get(&board->lost);
    bool whole = lost == 0 && scoreboard_get(&board->failed) == 0;
    char duration[32];

    if (!frame->first)
        printf("\033[%dA", FRAME_LINES);
    printf(WRAP_OFF BOLD "Holdfast demo" PLAIN "   %s   " DIM "Ctrl-C ends it" PLAIN CLEAR,
           frame->url);
    printf(CLEAR);
    draw_traffic(board, frame);
    printf(CLEAR);
    draw_changes(board);
    printf(CLEAR);
    printf("  last      %.*s" CLEAR, LAST_SHOWN, scoreboard_last_change(board));
    printf("  lost      %s%9" PRIu64 PLAIN "  %.*s" CLEAR, whole ? BOLD GREEN : BOLD RED, lost,
           LAST_SHOWN - 11, scoreboard_first_fault(board));
    printf(DIM "  running for %s; state in %s" PLAIN CLEAR WRAP_ON,
           string_duration(duration, sizeof duration, frame->elapsed_ns / NS_PER_MS),
           frame->folder);
}

void scoreboard_draw(const struct scoreboard *board, const struct scoreboard_frame *frame)
{
    if (frame->terminal)
        draw_frame(board, frame);
    else
        draw_line(board, frame);
    ignore(fflush(stdout));
}
