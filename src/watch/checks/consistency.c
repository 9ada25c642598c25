/* What the endpoints of one target do differently. Behind one name stand several machines, and what
 * is renewed on most of them is what is forgotten on one. */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/string.h"
#include "tls/certificate.h"
#include "watch/checks/check.h"

#define SECONDS_A_DAY 86400

/* Endpoints that should be equal: of one target, key type and server name. */
struct peers {
    struct endpoint *const *endpoints;
    size_t count;
    const struct endpoint *model; /* the one of whom all are asked whether they are its like */
};

static bool was_seen(const struct endpoint *endpoint)
{
    return endpoint->outcome == ENDPOINT_SEEN && endpoint->seen.chain_count > 0;
}

static const struct certificate_facts *leaf_of(const struct endpoint *endpoint)
{
    return endpoint->seen.chain[0];
}

static bool are_peers(const struct endpoint *a, const struct endpoint *b)
{
    return was_seen(a) && was_seen(b) && a->key_type == b->key_type && a->sni == b->sni &&
           a->target.kind != TARGET_FILE && b->target.kind != TARGET_FILE;
}

static bool same_leaf(const struct endpoint *a, const struct endpoint *b)
{
    return certificate_facts_same(leaf_of(a), leaf_of(b));
}

static bool same_chain(const struct endpoint *a, const struct endpoint *b)
{
    if (a->seen.chain_count != b->seen.chain_count)
        return false;
    for (size_t i = 0; i < a->seen.chain_count; i++) {
        if (!certificate_facts_same(a->seen.chain[i], b->seen.chain[i]))
            return false;
    }
    return true;
}

static bool same_version(const struct endpoint *a, const struct endpoint *b)
{
    return a->seen.version == b->seen.version;
}

/* ---- majorities ---- */

typedef bool same_fn(const struct endpoint *a, const struct endpoint *b);

static size_t count_like(const struct peers *peers, const struct endpoint *model, same_fn *same)
{
    size_t like = 0;

    for (size_t i = 0; i < peers->count; i++)
        like += are_peers(peers->endpoints[i], model) && same(peers->endpoints[i], model);
    return like;
}

static size_t count_peers(const struct peers *peers)
{
    size_t count = 0;

    for (size_t i = 0; i < peers->count; i++)
        count += are_peers(peers->endpoints[i], peers->model);
    return count;
}

/* The one that most are like; of two equal camps the one with the later certificate. */
static const struct endpoint *majority_of(const struct peers *peers, same_fn *same)
{
    const struct endpoint *found = peers->model;
    size_t most = count_like(peers, found, same);

    for (size_t i = 0; i < peers->count; i++) {
        const struct endpoint *candidate = peers->endpoints[i];
        if (!are_peers(candidate, peers->model))
            continue;
        size_t like = count_like(peers, candidate, same);
        if (like > most ||
            (like == most && leaf_of(candidate)->not_before > leaf_of(found)->not_before)) {
            found = candidate;
            most = like;
        }
    }
    return found;
}

/* ---- other certificates ---- */

static bool is_version_6(const struct endpoint *endpoint)
{
    return endpoint->address.any.sa_family == AF_INET6;
}

/* All of one family are like the odd one, all of the other like the majority: two machines. */
static bool families_differ(const struct peers *peers, const struct endpoint *odd,
                            const struct endpoint *majority)
{
    for (size_t i = 0; i < peers->count; i++) {
        const struct endpoint *endpoint = peers->endpoints[i];
        if (!are_peers(endpoint, odd))
            continue;
        const struct endpoint *like = is_version_6(endpoint) == is_version_6(odd) ? odd : majority;
        if (!same_leaf(endpoint, like))
            return false;
    }
    return is_version_6(odd) != is_version_6(majority);
}

static void tell_fingerprint(struct finding *finding, const struct endpoint *odd,
                             const struct endpoint *majority)
{
    const uint8_t *here = leaf_of(odd)->sha256, *there = leaf_of(majority)->sha256;

    string_hex(finding->certificate, here, 32);
    ignore(snprintf(finding->evidence, sizeof finding->evidence,
                    "here %02x%02x%02x%02x… of \"%.80s\", at %s %02x%02x%02x%02x…", here[0],
                    here[1], here[2], here[3], leaf_of(odd)->issuer_name, majority->address_text,
                    there[0], there[1], there[2], there[3]));
}

static void tell_other_leaf(const struct peers *peers, struct endpoint *odd,
                            const struct endpoint *majority)
{
    size_t like = count_like(peers, odd, same_leaf), count = count_peers(peers);
    const char *serves = like == 1 ? "serves" : "serve";
    struct finding *finding;

    if (families_differ(peers, odd, majority))
        finding = findings_add(&odd->findings, "families-differ", SEVERITY_WARNING,
                               "look whether the IPv4 and IPv6 addresses in the DNS are those of "
                               "the same machine, and bring the other one up to date",
                               "IPv%d leads to another certificate than IPv%d",
                               is_version_6(odd) ? 6 : 4, is_version_6(odd) ? 4 : 6);
    else if (leaf_of(odd)->not_before < leaf_of(majority)->not_before)
        finding =
            findings_add(&odd->findings, "address-serves-old-certificate", SEVERITY_WARNING,
                         "install the new certificate there, or reload the server that was "
                         "forgotten",
                         "%zu of %zu addresses still %s the old certificate", like, count, serves);
    else
        finding = findings_add(&odd->findings, "address-serves-other-certificate", SEVERITY_WARNING,
                               "bring the other machines up to date, or this one if it was not to "
                               "change",
                               "%zu of %zu addresses %s another certificate than the others", like,
                               count, serves);
    tell_fingerprint(finding, odd, majority);
}

static void tell_other_chain(const struct peers *peers, struct endpoint *odd,
                             const struct endpoint *majority)
{
    struct finding *finding =
        findings_add(&odd->findings, "address-serves-other-chain", SEVERITY_WARNING,
                     "use the same chain file on all machines",
                     "%zu of %zu addresses serve the same certificate with another chain",
                     count_like(peers, odd, same_chain), count_peers(peers));

    ignore(snprintf(finding->evidence, sizeof finding->evidence, "%zu certificates here, %zu at %s",
                    odd->seen.chain_count, majority->seen.chain_count, majority->address_text));
}

static void tell_other_version(const struct peers *peers, struct endpoint *odd,
                               const struct endpoint *majority)
{
    ignore(findings_add(&odd->findings, "address-speaks-other-version", SEVERITY_INFO,
                        "use the same settings on all machines",
                        "%zu of %zu addresses choose %s, the others %s",
                        count_like(peers, odd, same_version), count_peers(peers),
                        odd->seen.version_name, majority->seen.version_name) != NULL);
}

/* ---- key types ---- */

static bool same_place(const struct endpoint *a, const struct endpoint *b)
{
    return a != b && was_seen(a) && was_seen(b) && a->sni == b->sni &&
           address_equal(&a->address, &b->address);
}

/* The same address with the other key type. */
static const struct endpoint *sibling_of(const struct peers *peers, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < peers->count; i++) {
        if (same_place(peers->endpoints[i], endpoint) &&
            peers->endpoints[i]->key_type != endpoint->key_type)
            return peers->endpoints[i];
    }
    return NULL;
}

static const char *key_type_text(int key_type)
{
    return key_type == KEY_TYPE_RSA ? "RSA" : "ECDSA";
}

/* A sibling that was issued in the second half of this one's life, or later, has been renewed. */
static void tell_renewed_apart(struct endpoint *old, const struct endpoint *renewed)
{
    int64_t life = leaf_of(old)->not_after - leaf_of(old)->not_before;

    if (leaf_of(renewed)->not_before < leaf_of(old)->not_before + life / 2 ||
        leaf_of(renewed)->not_before < leaf_of(old)->not_before + SECONDS_A_DAY)
        return;
    struct finding *finding =
        findings_add(&old->findings, "key-type-not-renewed", SEVERITY_WARNING,
                     "renew both certificates together, or serve only one of them",
                     "the %s certificate was renewed, the %s certificate was not",
                     key_type_text(renewed->key_type), key_type_text(old->key_type));
    string_hex(finding->certificate, leaf_of(old)->sha256, 32);
}

/* Twenty thousand names are compared with as many others: looked up, not searched. */
static void map_names(struct map *names, const struct certificate_facts *facts)
{
    static char present;

    map_init(names);
    for (size_t i = 0; i < facts->name_count; i++) {
        const struct alternative_name *name = &facts->names[i];
        if (name->kind == ALTERNATIVE_NAME_DNS && !name->malformed)
            ignore(map_put(names, name->text, &present));
    }
}

/* As certificate_facts_cover() has it. */
static bool covers(const struct map *names, const char *name)
{
    const char *parent = strchr(name, '.');
    char wildcard[260];

    if (map_get(names, name) != NULL)
        return true;
    if (parent == NULL || parent == name || strchr(parent + 1, '.') == NULL)
        return false;
    ignore(snprintf(wildcard, sizeof wildcard, "*%s", parent));
    return map_get(names, wildcard) != NULL;
}

static void tell_fewer_names(struct endpoint *endpoint, const struct endpoint *sibling)
{
    const struct certificate_facts *own = leaf_of(endpoint), *other = leaf_of(sibling);
    __attribute__((cleanup(map_fini))) struct map names;

    map_names(&names, own);
    for (size_t i = 0; i < other->name_count; i++) {
        const struct alternative_name *name = &other->names[i];
        if (name->kind != ALTERNATIVE_NAME_DNS || name->malformed || name->text[0] == '*' ||
            covers(&names, name->text))
            continue;
        struct finding *finding = findings_add(
            &endpoint->findings, "key-type-lacks-name", SEVERITY_WARNING,
            "issue both certificates for the same names",
            "the %s certificate lacks \"%s\", which the %s certificate has",
            key_type_text(endpoint->key_type), name->text, key_type_text(sibling->key_type));
        string_hex(finding->certificate, own->sha256, 32);
        return;
    }
}

/* Is there an address with this one's sibling, while this address has none? */
static void tell_missing_key_type(const struct peers *peers, struct endpoint *endpoint)
{
    size_t with = 0, addresses = 0;

    for (size_t i = 0; i < peers->count; i++) {
        if (!are_peers(peers->endpoints[i], endpoint))
            continue;
        addresses++;
        with += sibling_of(peers, peers->endpoints[i]) != NULL;
    }
    if (with == 0)
        return;
    ignore(findings_add(&endpoint->findings, "address-lacks-key-type", SEVERITY_WARNING,
                        "install both certificates on all machines",
                        "%zu of %zu addresses have a certificate of the other key type, too; this "
                        "one has only %s",
                        with, addresses, key_type_text(endpoint->key_type)) != NULL);
}

static void compare_key_types(const struct peers *peers, struct endpoint *endpoint)
{
    const struct endpoint *sibling = sibling_of(peers, endpoint);

    if (endpoint->key_type < 0)
        return;
    if (sibling == NULL) {
        tell_missing_key_type(peers, endpoint);
        return;
    }
    tell_renewed_apart(endpoint, sibling);
    tell_fewer_names(endpoint, sibling);
}

/* ---- all of it ---- */

static void compare(const struct peers *peers, struct endpoint *endpoint)
{
    const struct endpoint *majority = majority_of(peers, same_leaf);

    if (!same_leaf(endpoint, majority)) {
        tell_other_leaf(peers, endpoint, majority);
    } else {
        majority = majority_of(peers, same_chain);
        if (same_leaf(endpoint, majority) && !same_chain(endpoint, majority))
            tell_other_chain(peers, endpoint, majority);
    }
    majority = majority_of(peers, same_version);
    if (!same_version(endpoint, majority))
        tell_other_version(peers, endpoint, majority);
}

void check_consistency(struct endpoint *const *endpoints, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct peers peers = {.endpoints = endpoints, .count = count, .model = endpoints[i]};
        if (!was_seen(endpoints[i]) || endpoints[i]->target.kind == TARGET_FILE)
            continue;
        compare(&peers, endpoints[i]);
        compare_key_types(&peers, endpoints[i]);
    }
}
