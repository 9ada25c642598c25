/* holdfast keylife: when must this key be renewed? */
#include "cmd/keylife.h"

#include <ctype.h>
#include <string.h>

#include "base/attributes.h"
#include "base/quantity.h"
#include "base/string.h"
#include "cmd/cmd.h"

#define VERB "keylife"

static const char usage[] =
    "Usage: holdfast keylife [--cipher NAME] [--record-size SIZE]\n"
    "                [--rate RATE | --volume SIZE] [--probability P]\n"
    "                [--fleet-volume SIZE] [--tls 1.2|1.3] [--json]\n"
    "       holdfast keylife --clients [--json]\n"
    "       holdfast keylife --listener NAME [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Says how much data and how much time a key lasts, which bound decides, by which\n"
    "formula and from which source.\n"
    "\n"
    "Options:\n"
    "      --cipher NAME        aes-128-gcm (default), aes-256-gcm,\n"
    "                           chacha20-poly1305, aes-128-ccm, aes-128-ccm-8,\n"
    "                           aes-128-cbc, 3des-cbc, or a suite as\n"
    "                           TLS_AES_128_GCM_SHA256\n"
    "      --record-size SIZE   data in each record (default 16k, the largest)\n"
    "      --rate RATE          how fast data is sent, such as 10Gbit/s or 1TB/day\n"
    "      --volume SIZE        how much is to be sent, such as 5TB: how many keys is\n"
    "                           that?\n"
    "      --probability P      that an attacker may win (default 2^-60, as TLS)\n"
    "      --fleet-volume SIZE  what is sent under all keys together: the bound for\n"
    "                           many keys\n"
    "      --tls VERSION        1.3 (default) or 1.2\n"
    "      --sequence-bits N    bits of the sequence number, 8 to 128 (default 64)\n"
    "      --block-bits N       bits of a cipher block, 16 to 256 (default 128, 3DES\n"
    "                           64)\n"
    "      --clients            what each TLS stack does by itself\n"
    "      --listener NAME      where the keys of the running sessions of this\n"
    "                           listener stand\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

enum {
    OPTION_CIPHER = CLIENT_OPTION_LAST,
    OPTION_RECORD_SIZE,
    OPTION_RATE,
    OPTION_VOLUME,
    OPTION_PROBABILITY,
    OPTION_FLEET_VOLUME,
    OPTION_TLS,
    OPTION_SEQUENCE_BITS,
    OPTION_BLOCK_BITS,
    OPTION_CLIENTS,
    OPTION_LISTENER
};

static const struct option long_options[] = {
    CLIENT_LONG_OPTIONS,
    {"cipher", required_argument, NULL, OPTION_CIPHER},
    {"record-size", required_argument, NULL, OPTION_RECORD_SIZE},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"volume", required_argument, NULL, OPTION_VOLUME},
    {"probability", required_argument, NULL, OPTION_PROBABILITY},
    {"fleet-volume", required_argument, NULL, OPTION_FLEET_VOLUME},
    {"tls", required_argument, NULL, OPTION_TLS},
    {"sequence-bits", required_argument, NULL, OPTION_SEQUENCE_BITS},
    {"block-bits", required_argument, NULL, OPTION_BLOCK_BITS},
    {"clients", no_argument, NULL, OPTION_CLIENTS},
    {"listener", required_argument, NULL, OPTION_LISTENER},
    {0},
};

struct request {
    struct keylife life;
    struct client_options client;
    const char *listener;
    bool clients;
    unsigned block_bits; /* 0: as the cipher has */
    bool tls_given;
    bool asked; /* an option of the calculation was given */
};

/* ---- ciphers ---- */

/* The longer name first: a suite is recognised by what it contains. */
static const struct cipher {
    const char *name, *shown;
    enum key_cipher cipher;
    unsigned block_bits;
} ciphers[] = {
    {"aes-128-gcm", "AES-128-GCM", KEY_AES_GCM, 128},
    {"aes-256-gcm", "AES-256-GCM", KEY_AES_GCM, 128},
    {"chacha20-poly1305", "ChaCha20-Poly1305", KEY_CHACHA20_POLY1305, 128},
    {"aes-128-ccm-8", "AES-128-CCM-8", KEY_AES_CCM_8, 128},
    {"aes-256-ccm-8", "AES-256-CCM-8", KEY_AES_CCM_8, 128},
    {"aes-128-ccm", "AES-128-CCM", KEY_AES_CCM, 128},
    {"aes-256-ccm", "AES-256-CCM", KEY_AES_CCM, 128},
    {"aes-128-cbc", "AES-128-CBC", KEY_CBC, 128},
    {"aes-256-cbc", "AES-256-CBC", KEY_CBC, 128},
    {"3des-ede-cbc", "3DES-CBC", KEY_CBC, 64},
    {"3des-cbc", "3DES-CBC", KEY_CBC, 64},
};

#define NAME_MAX_SIZE 80

static int set_cipher(struct request *request, const char *text, struct error *error)
{
    char name[NAME_MAX_SIZE], shown[NAME_MAX_SIZE];

    bool fits = string_copy(name, sizeof name, text);
    string_lower(name);
    for (char *c = name; *c != '\0'; c++)
        *c = *c == '_' ? '-' : *c;
    bool suite = string_starts_with(name, "tls-");
    for (size_t i = 0; fits && i < ARRAY_SIZE(ciphers); i++) {
        if (suite ? strstr(name, ciphers[i].name) == NULL : strcmp(name, ciphers[i].name) != 0)
            continue;
        request->life.cipher = ciphers[i].shown;
        request->life.question.cipher = ciphers[i].cipher;
        request->life.question.block_bits = ciphers[i].block_bits;
        return 0;
    }
    return error_set(error, ERROR_USAGE,
                     "--cipher: found \"%s\"; expected aes-128-gcm, aes-256-gcm, "
                     "chacha20-poly1305, aes-128-ccm, aes-128-ccm-8, aes-128-cbc, 3des-cbc or the "
                     "name of a suite",
                     string_printable(shown, sizeof shown, text, strlen(text)));
}

/* ---- options ---- */

static int set_bits(unsigned *ret_bits, const char *option, uint64_t minimum, uint64_t maximum,
                    struct error *error)
{
    uint64_t bits = 0;

    if (client_count(&bits, optarg, maximum, error) < 0 || bits < minimum) {
        char shown[NAME_MAX_SIZE];
        return error_set(error, ERROR_USAGE, "%s: found \"%s\"; expected bits from %u to %u",
                         option, string_printable(shown, sizeof shown, optarg, strlen(optarg)),
                         (unsigned)minimum, (unsigned)maximum);
    }
    *ret_bits = (unsigned)bits;
    return 0;
}

static int set_record_size(struct keylife *life, struct error *error)
{
    double size;
    int code = quantity_bytes(&size, optarg, error);

    if (code == 0 && (size < 1 || size > 16384))
        code = error_set(error, ERROR_USAGE,
                         "found \"%s\"; expected from 1 byte to 16k, the largest record of TLS",
                         optarg);
    if (code == 0)
        life->question.record_size = size;
    return code;
}

static int set_tls(struct request *request, struct error *error)
{
    char shown[NAME_MAX_SIZE];

    if (strcmp(optarg, "1.2") != 0 && strcmp(optarg, "1.3") != 0)
        return error_set(error, ERROR_USAGE, "--tls: found \"%s\"; expected 1.2 or 1.3",
                         string_printable(shown, sizeof shown, optarg, strlen(optarg)));
    request->life.tls12 = strcmp(optarg, "1.2") == 0;
    request->tls_given = true;
    return 0;
}

static int set_number(struct request *request, int option, struct error *error)
{
    struct keylife *life = &request->life;

    switch (option) {
    case OPTION_RECORD_SIZE:
        return set_record_size(life, error);
    case OPTION_RATE:
        return quantity_rate(&life->rate, optarg, error);
    case OPTION_VOLUME:
        return quantity_bytes(&life->volume, optarg, error);
    case OPTION_PROBABILITY:
        return quantity_probability(&life->question.log2_probability, optarg, error);
    case OPTION_FLEET_VOLUME:
        return quantity_bytes(&life->fleet_bytes, optarg, error);
    default:
        return error_set(error, ERROR_INTERNAL, "option %d", option);
    }
}

static const char *option_name(int option)
{
    for (const struct option *it = long_options; it->name != NULL; it++) {
        if (it->val == option)
            return it->name;
    }
    return "";
}

static int set_option(struct request *request, int option, struct error *error)
{
    request->asked = request->asked || (option != OPTION_CLIENTS && option != OPTION_LISTENER);
    switch (option) {
    case OPTION_CIPHER:
        return set_cipher(request, optarg, error);
    case OPTION_TLS:
        return set_tls(request, error);
    case OPTION_SEQUENCE_BITS:
        return set_bits(&request->life.sequence_bits, "--sequence-bits", 8, 128, error);
    case OPTION_BLOCK_BITS:
        return set_bits(&request->block_bits, "--block-bits", 16, 256, error);
    case OPTION_CLIENTS:
        request->clients = true;
        return 0;
    case OPTION_LISTENER:
        request->listener = optarg;
        return 0;
    default:
        break;
    }
    int code = set_number(request, option, error);
    return code < 0 ? error_prepend(error, "--%s", option_name(option)) : 0;
}

/* ---- what does not go together ---- */

static int complete(struct request *request, struct error *error)
{
    struct keylife *life = &request->life;
    bool cbc = life->question.cipher == KEY_CBC;

    if ((request->clients || request->listener != NULL) && request->asked)
        return error_set(error, ERROR_USAGE,
                         "found options of the calculation with %s, which takes none of them",
                         request->clients ? "--clients" : "--listener");
    if (request->clients && request->listener != NULL)
        return error_set(error, ERROR_USAGE, "found --clients and --listener; expected one");
    if (life->rate > 0 && life->volume > 0)
        return error_set(error, ERROR_USAGE, "found --rate and --volume; expected one of them");
    if (cbc && request->tls_given && !life->tls12)
        return error_set(error, ERROR_USAGE,
                         "found %s with TLS 1.3, which has no CBC suites; expected --tls 1.2 or an "
                         "AEAD such as aes-128-gcm",
                         life->cipher);
    if (request->block_bits != 0 && life->question.cipher == KEY_CHACHA20_POLY1305)
        return error_set(error, ERROR_USAGE,
                         "found --block-bits with %s, which has no block cipher in it; expected an "
                         "AES cipher or 3des-cbc",
                         life->cipher);
    life->tls12 = life->tls12 || cbc;
    if (request->block_bits != 0)
        life->question.block_bits = request->block_bits;
    return 0;
}

int cmd_keylife(int argc, char **argv)
{
    struct request request = {.life = {.cipher = "AES-128-GCM",
                                       .question = {KEY_AES_GCM, 128, 16384, KEY_LOG2_PROBABILITY},
                                       .sequence_bits = 64}};
    struct error error = {0};
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option >= OPTION_CIPHER) {
            if (set_option(&request, option, &error) < 0)
                return client_fail(VERB, &error);
            continue;
        }
        int code = client_option(&request.client, option, usage);
        if (code >= 0)
            return code;
    }
    if (client_no_words("keylife", argc, argv) >= 0)
        return 2;
    if (complete(&request, &error) < 0)
        return client_fail(VERB, &error);
    request.life.json = request.client.json;
    if (request.clients)
        return keylife_clients(request.client.json);
    if (request.listener != NULL)
        return keylife_listener(request.listener, &request.client);
    return keylife_report(&request.life);
}
