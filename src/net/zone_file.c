#include "net/zone_file.h"

#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    FILE *file;
    uint32_t lifetime;
    ldns_rdf *origin, *previous;
    zone_name_fn *fn;
    void *context;
};

static bool is_host(const ldns_rr *record)
{
    ldns_rr_type type = ldns_rr_get_type(record);

    return type == LDNS_RR_TYPE_A || type == LDNS_RR_TYPE_AAAA || type == LDNS_RR_TYPE_CNAME;
}

/* False: the caller has enough. */
static bool give_name(const struct reading *reading, const ldns_rr *record)
{
    char *name = ldns_rdf2str(ldns_rr_owner(record));
    bool more = true;

    if (name == NULL)
        return true;
    size_t length = strlen(name);
    if (length > 1 && name[length - 1] == '.' && name[0] != '*' && name[0] != '_') {
        name[length - 1] = '\0';
        more = reading->fn(reading->context, name);
    }
    free(name);
    return more;
}

static size_t read_records(struct reading *reading)
{
    size_t unreadable = 0;
    bool more = true;
    int line = 0;

    while (more && unreadable < ZONE_UNREADABLE_MAX && !feof(reading->file)) {
        ldns_rr *record = NULL;
        ldns_status status = ldns_rr_new_frm_fp_l(&record, reading->file, &reading->lifetime,
                                                  &reading->origin, &reading->previous, &line);
        if (status == LDNS_STATUS_OK && is_host(record))
            more = give_name(reading, record);
        else if (status != LDNS_STATUS_OK && status != LDNS_STATUS_SYNTAX_EMPTY &&
                 status != LDNS_STATUS_SYNTAX_TTL && status != LDNS_STATUS_SYNTAX_ORIGIN)
            unreadable++;
        if (status == LDNS_STATUS_OK)
            ldns_rr_free(record);
    }
    return unreadable;
}

size_t zone_file_hosts(const char *text, size_t size, const char *origin, zone_name_fn *fn,
                       void *context)
{
    struct reading reading = {.lifetime = 3600, .fn = fn, .context = context};
    size_t unreadable = 0;

    if (size == 0)
        return 0;
    reading.file = fmemopen((void *)(uintptr_t)text, size, "r");
    if (reading.file == NULL)
        return 1;
    if (origin != NULL && ldns_str2rdf_dname(&reading.origin, origin) != LDNS_STATUS_OK)
        reading.origin = NULL;
    unreadable = read_records(&reading);
    ignore(fclose(reading.file));
    ldns_rdf_deep_free(reading.origin);
    ldns_rdf_deep_free(reading.previous);
    return unreadable;
}
