/* The kinds of sections, and where their objects are in struct conf. */
#pragma once

#include "conf/merge.h"
#include "conf/schema.h"

struct kind {
    enum conf_kind number;
    const struct schema_section *schema;
    size_t items; /* offset of the array (`struct x *`), whose structs begin with their name */
    size_t count; /* offset of its size_t count */
    size_t size;  /* of one */
    bool placed;  /* objects keep their places over reloads; the others are known by name */
};

/* All titled ones, in the order in which they are shown. */
#define KIND_COUNT 7
extern const struct kind conf_kinds[KIND_COUNT];

/* Sections of which there is one, or none. */
struct kind_single {
    enum conf_kind number;
    const struct schema_section *schema;
    size_t object, present; /* offsets of the struct, and of its `present` */
};
#define KIND_SINGLE_COUNT 2
extern const struct kind_single conf_singles[KIND_SINGLE_COUNT];
static inline void *single_object(const struct conf *conf, const struct kind_single *single)
{
    return (void *)((uintptr_t)conf + single->object);
}
static inline bool single_present(const struct conf *conf, const struct kind_single *single)
{
    return *(const bool *)((const char *)conf + single->present);
}

/* NULL: no titled section is called so. */
const struct kind *kind_find(const char *name);
static inline size_t kind_count(const struct conf *conf, const struct kind *kind)
{
    return *(const size_t *)((const char *)conf + kind->count);
}
/* Object number `index`; its name. */
void *kind_object(const struct conf *conf, const struct kind *kind, size_t index);
char *kind_name(const struct conf *conf, const struct kind *kind, size_t index); /* NULL: a hole */
/* A new object, zeroed; NULL: out of memory. */
void *kind_append(struct conf *conf, const struct kind *kind);
/* CONF_NONE: there is none of that name. */
uint32_t kind_find_object(const struct conf *conf, const struct kind *kind, const char *name);
