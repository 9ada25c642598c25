#include "demo/scoreboard.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/attributes.h"
#include "base/clock.h"
#include "base/string.h"

#define FRAME_LINES 8

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
    scoreboard_add(&board->latency[bucket_of(latency_ns / NS_PER_US)], 1);
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

static void draw_line(const struct scoreboard *board, const struct scoreboard_frame *frame)
{
    printf("%3" PRIu64 " s: sessions %u, replacements %" PRIu64 " made and %" PRIu64
           " seen, messages %" PRIu64 ", p50 %.2f ms, p99 %.2f ms, lost: %" PRIu64 "\n",
           (uint64_t)(frame->elapsed_ns / NS_PER_S), open_sessions(board),
           scoreboard_get(&board->renewals), scoreboard_get(&board->seen),
           scoreboard_get(&board->messages), milliseconds(scoreboard_percentile(board, 0.5)),
           milliseconds(scoreboard_percentile(board, 0.99)), scoreboard_get(&board->lost));
}

#define BOLD  "\033[1m"
#define DIM   "\033[2m"
#define GREEN "\033[32m"
#define RED   "\033[31m"
#define PLAIN "\033[0m"
#define CLEAR "\033[K\n"

static void draw_frame(const struct scoreboard *board, const struct scoreboard_frame *frame)
{
    uint64_t lost = scoreboard_get(&board->lost), seen = scoreboard_get(&board->seen);
    char number[32], duration[32], delay[48] = "";

    if (!frame->first)
        printf("\033[%dA", FRAME_LINES);
    printf(BOLD "Holdfast demo" PLAIN "   %s   " DIM "Ctrl-C ends it" PLAIN CLEAR, frame->url);
    printf(CLEAR);
    printf("  sessions      " BOLD "%u" PLAIN " of %u open: %u TLS 1.3, %u TLS 1.2" CLEAR,
           open_sessions(board), frame->sessions_wanted, board->sessions[DEMO_TLS_1_3],
           board->sessions[DEMO_TLS_1_2]);
    if (seen > 0)
        ignore(snprintf(delay, sizeof delay, ", the last after %.0f ms",
                        milliseconds(scoreboard_get(&board->seen_delay_ns) / NS_PER_US)));
    printf("  replacements  " BOLD "%" PRIu64 PLAIN " made, " BOLD "%" PRIu64 PLAIN
           " seen by new connections%s" CLEAR,
           scoreboard_get(&board->renewals), seen, delay);
    printf("  messages      " BOLD "%s" PLAIN " came back unaltered" CLEAR,
           grouped(number, scoreboard_get(&board->messages)));
    printf("  latency       p50 %.2f ms, p99 %.2f ms" CLEAR,
           milliseconds(scoreboard_percentile(board, 0.5)),
           milliseconds(scoreboard_percentile(board, 0.99)));
    printf("  lost          %s%s%" PRIu64 PLAIN "  %s" CLEAR, BOLD, lost == 0 ? GREEN : RED, lost,
           board->fault);
    printf(DIM "  running for %s; state in %s" PLAIN CLEAR,
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
