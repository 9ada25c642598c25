/* A trust set as bytes, from control to handshakers: a head, then the certificates in DER with
 * their sizes, the facts of the lists, and the digests of what is revoked. */
#include "tls/trust_set_internal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/buffer.h"
#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

#define DOCUMENT_MAGIC 0x68667472757374ull

struct document_head {
    uint64_t magic;
    uint32_t generation, certificates, lists, revoked;
};

/* ---- writing ---- */

static void put_certificate(struct buffer *output, X509 *certificate)
{
    unsigned char *der = NULL;
    int size = i2d_X509(certificate, &der);
    uint32_t length = size > 0 ? (uint32_t)size : 0;

    ignore(buffer_append(output, &length, sizeof length));
    ignore(buffer_append(output, der, length));
    OPENSSL_free(der);
}

uint8_t *trust_set_export(const struct trust_set *set, size_t *ret_size)
{
    struct document_head head = {.magic = DOCUMENT_MAGIC,
                                 .generation = set->generation,
                                 .certificates = (uint32_t)sk_X509_num(set->certificates),
                                 .lists = (uint32_t)set->list_count,
                                 .revoked = (uint32_t)set->revoked_count};
    struct buffer output;

    buffer_init(&output, TRUST_DOCUMENT_MAX);
    ignore(buffer_append(&output, &head, sizeof head));
    for (int i = 0; i < sk_X509_num(set->certificates); i++)
        put_certificate(&output, sk_X509_value(set->certificates, i));
    ignore(buffer_append(&output, set->lists, set->list_count * sizeof *set->lists));
    ignore(buffer_append(&output, set->revoked, set->revoked_count * sizeof *set->revoked));
    uint8_t *copy = output.failed ? NULL : malloc(output.size);
    if (copy != NULL)
        memcpy(copy, output.data, output.size);
    *ret_size = output.size;
    buffer_fini(&output);
    return copy;
}

/* ---- reading ---- */

/* Its fault sticks. */
struct cursor {
    const uint8_t *data;
    size_t left;
    bool failed;
};

static const uint8_t *take(struct cursor *cursor, size_t size)
{
    const uint8_t *taken = cursor->data;

    if (cursor->failed || size > cursor->left) {
        cursor->failed = true;
        return NULL;
    }
    cursor->data += size;
    cursor->left -= size;
    return taken;
}

static int take_certificates(struct trust_set *set, struct cursor *cursor, uint32_t count,
                             struct error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *place = take(cursor, sizeof(uint32_t));
        uint32_t size = 0;
        if (place != NULL)
            memcpy(&size, place, sizeof size);
        place = take(cursor, size);
        AUTO(X509) *certificate = place != NULL ? d2i_X509(NULL, &place, (long)size) : NULL;
        if (certificate == NULL)
            return error_set(error, ERROR_INTERNAL, "malformed trust set");
        int result = trust_set_add_authority(set, certificate, error);
        if (result != 0)
            return result;
    }
    return 0;
}

/* malloc'ed; NULL with the cursor failed. */
static void *take_array(struct cursor *cursor, size_t count, size_t size)
{
    const uint8_t *place = take(cursor, count * size);
    void *array = place != NULL ? malloc(count * size + 1) : NULL;

    if (array != NULL)
        memcpy(array, place, count * size);
    else
        cursor->failed = true;
    return array;
}

static int take_all(struct trust_set *set, struct cursor *cursor, struct error *error)
{
    const uint8_t *place = take(cursor, sizeof(struct document_head));
    struct document_head head = {0};

    if (place != NULL)
        memcpy(&head, place, sizeof head);
    if (head.magic != DOCUMENT_MAGIC)
        return error_set(error, ERROR_INTERNAL, "malformed trust set");
    int result = take_certificates(set, cursor, head.certificates, error);
    if (result != 0)
        return result;
    set->generation = head.generation;
    set->lists = take_array(cursor, head.lists, sizeof *set->lists);
    set->list_count = set->lists != NULL ? head.lists : 0;
    set->revoked = take_array(cursor, head.revoked, sizeof *set->revoked);
    set->revoked_count = set->revoked != NULL ? head.revoked : 0;
    return cursor->failed || cursor->left > 0
               ? error_set(error, ERROR_INTERNAL, "malformed trust set")
               : 0;
}

int trust_set_import(struct trust_set **ret_set, const uint8_t *data, size_t size,
                     struct error *error)
{
    struct cursor cursor = {.data = data, .left = size};
    struct trust_set *set = trust_set_empty();

    if (set == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    int result = take_all(set, &cursor, error);
    ERR_clear_error();
    if (result != 0) {
        trust_set_unref(set);
        return result;
    }
    trust_set_finish(set);
    *ret_set = set;
    return 0;
}
