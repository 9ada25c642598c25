/* Answers of name servers, read by us: bounded, nothing believed that does not belong to the
 * question. */
#pragma once

#include "net/names.h"

enum names_type {
    NAMES_TYPE_CNAME = 5,
    NAMES_TYPE_MX = 15,
    NAMES_TYPE_TXT = 16,
    NAMES_TYPE_TLSA = 52
};

/* The records of this type that the name has, also by way of CNAMEs in the same message; `answer`
 * is zeroed first. What cannot be read gives NAMES_FAILED. */
void names_message_parse(struct names_answer *answer, enum names_type type, const char *name,
                         const uint8_t *message, size_t size);
