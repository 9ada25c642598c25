#include "scripted_prober.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"

static const char *folder;

/* How often it was asked for this, over all its lives. */
static unsigned count_asked(const char *target)
{
    char path[400];
    unsigned number = 0;

    int length = snprintf(path, sizeof path, "%s/asked-", folder);
    for (const char *at = target; *at != '\0' && length < (int)sizeof path - 1; at++)
        path[length++] = *at == '/' ? '_' : *at;
    path[length] = '\0';
    FILE *file = fopen(path, "a+");
    rewind(file);
    while (fgetc(file) != EOF)
        number++;
    fputc('x', file);
    fclose(file);
    return number;
}

static void answer_endpoint(FILE *out, uint64_t id, const char *target, const char *sha256,
                            const char *verdict, const char *not_before, const char *vantage)
{
    time_t now = time(NULL);
    char at[32];

    clock_rfc3339(at, sizeof at, (uint64_t)now * NS_PER_S);
    fprintf(out,
            "{\"id\":%llu,\"endpoint\":{\"target\":\"%s\",\"address\":\"192.0.2.1:443\",\"name\":"
            "\"x\",\"sni\":true,\"key_type\":\"ecdsa\",\"vantage\":\"%s\",\"outcome\":\"seen\","
            "\"verdict\":\"%s\",\"checked_at\":\"%s\",\"certificates\":[{\"sha256\":\"%s\",\"key\":"
            "\"EC\",\"not_before\":\"%s\",\"not_after\":\"2031-01-01T00:00:00Z\","
            "\"subject_an\":[\"x\"]}]}}\n",
            (unsigned long long)id, target, vantage, verdict, at, sha256, not_before);
}

/* What it was told of files, over all its lives: "content;", "!trouble;", "-key;". */
static void note_told(const json_t *line, const char *bytes)
{
    const char *key = json_string_value(json_object_get(line, "forget"));
    char path[96];

    if (key == NULL && json_object_get(line, "supply") == NULL)
        return;
    snprintf(path, sizeof path, "%s/told", folder);
    FILE *file = fopen(path, "a");
    if (key != NULL)
        fprintf(file, "-%s;", key);
    else if (bytes == NULL)
        fprintf(file, "!%s;", json_string_value(json_object_get(line, "error")));
    else
        fprintf(file, "%s;", bytes);
    fclose(file);
}

/* The bytes behind a line; NULL: none. */
static char *read_bytes(FILE *in, const json_t *line)
{
    json_t *size = json_object_get(line, "size");
    char *bytes = size == NULL ? NULL : calloc(1, (size_t)json_integer_value(size) + 1);

    if (bytes != NULL &&
        fread(bytes, 1, (size_t)json_integer_value(size), in) != (size_t)json_integer_value(size))
        _exit(1);
    return bytes;
}

static void take_line(FILE *in, FILE *out, const char *line);

/* Gives something to keep, or asks for it; how much comes back is in the leaf's name. */
static const char *talk_of_documents(FILE *in, FILE *out, const char *target)
{
    static char found[8];
    char line[8192];

    if (string_starts_with(target, "keeps-nothing"))
        fprintf(out, "{\"keep\":\"0ax\",\"until\":4000000000}\n");
    else if (string_starts_with(target, "keeps-control"))
        fprintf(out, "{\"keep\":\"0a\\u001b\",\"until\":4000000000,\"size\":1}\nx");
    else if (string_starts_with(target, "drops-bytes"))
        fprintf(out, "{\"drop\":\"0ax\",\"size\":1}\nx");
    else if (string_starts_with(target, "keeps"))
        fprintf(out, "{\"keep\":\"0ax\",\"until\":4000000000,\"size\":3}\n\n{}");
    else if (string_starts_with(target, "drops"))
        fprintf(out, "{\"drop\":\"0ax\"}\n");
    if (!string_starts_with(target, "recalls"))
        return "aa";
    fprintf(out, "{\"recall\":\"0ax\"}\n");
    fflush(out);
    while (fgets(line, sizeof line, in) != NULL && strstr(line, "\"recalled\"") == NULL)
        take_line(in, out, line); /* a question that was asked meanwhile */
    json_t *answered = json_loads(line, 0, NULL);
    char *bytes = read_bytes(in, answered);
    snprintf(found, sizeof found, "%s",
             bytes == NULL                ? "none"
             : strcmp(bytes, "\n{}") == 0 ? "kept"
                                          : "wrong");
    free(bytes);
    json_decref(answered);
    return found;
}

static void answer(FILE *in, FILE *out, uint64_t id, const char *target, const char *vantage)
{
    const char *leaf = talk_of_documents(in, out, target);
    const char *old = "2026-01-01T00:00:00Z", *new = "2026-09-01T00:00:00Z";
    unsigned asked = count_asked(target);

    fprintf(out, "{\"alive\":true}\n");
    if (string_starts_with(target, "kills"))
        abort();
    if (string_starts_with(target, "dies-once") && asked == 0)
        raise(SIGKILL);
    if (string_starts_with(target, "lies"))
        fprintf(out, "{\"id\":%llu,\"endpoint\":{\"verdict\":\"fine\"}}\n", (unsigned long long)id);
    if (string_starts_with(target, "escapes"))
        answer_endpoint(out, id, "escapes:443", "aa\\u001b[2J", "ok", old, "public");
    if (string_starts_with(target, "fails")) {
        fprintf(out, "{\"id\":%llu,\"error\":\"no such store\",\"done\":true}\n",
                (unsigned long long)id);
        return;
    }
    if (string_starts_with(target, "turns"))
        answer_endpoint(out, id, target, asked % 2 == 0 ? "aa" : "bb",
                        asked % 2 == 0 ? "ok" : "critical", old, vantage);
    else if (string_starts_with(target, "rotates"))
        answer_endpoint(out, id, target, asked < 2 ? "aa" : "bb", "ok", asked < 2 ? old : new,
                        vantage);
    else if (strcmp(vantage, "origin") == 0)
        answer_endpoint(out, id, target, "bb", "ok", new, vantage);
    else
        answer_endpoint(out, id, target, leaf, "ok", old, vantage);
    fprintf(out, "{\"id\":%llu,\"done\":true}\n", (unsigned long long)id);
}

static void take_line(FILE *in, FILE *out, const char *line)
{
    json_t *request = json_loads(line, 0, NULL);
    char *bytes = read_bytes(in, request);
    const char *target = json_string_value(json_object_get(request, "target"));
    const char *vantage =
        json_string_value(json_object_get(json_object_get(request, "options"), "vantage"));

    note_told(request, bytes);
    free(bytes);
    if (target != NULL)
        answer(in, out, (uint64_t)json_integer_value(json_object_get(request, "id")), target,
               vantage == NULL ? "public" : vantage);
    fflush(out);
    json_decref(request);
}

pid_t scripted_prober_start(void *context, int fd)
{
    pid_t pid = fork();
    char line[8192];

    if (pid != 0)
        return pid;
    folder = context;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(fd, F_SETFL, 0);
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    while (fgets(line, sizeof line, in) != NULL)
        take_line(in, out, line);
    _exit(0);
}
