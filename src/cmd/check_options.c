#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/control_client.h"
#include "base/clock.h"
#include "base/oid.h"
#include "base/pin.h"
#include "base/secret.h"
#include "base/string.h"
#include "cmd/check.h"

#define TIMEOUT_S     10
#define TIMEOUT_MAX_S 3600
#define CONNECTIONS   200

static const char usage[] =
    "Usage: holdfast check [OPTIONS] TARGET...\n"
    "\n"
    "Looks at servers and certificate files as the strictest client does, and says\n"
    "what is wrong and what to do next. Every address of a name is asked, for each\n"
    "key type.\n"
    "\n"
    "TARGET: shop.example   shop.example:8443   [2001:db8::1]:443\n"
    "        https://shop.example/   smtps://…   imaps://…   ldaps://…\n"
    "        smtp+starttls://mail.example:587 (also imap, pop3, ftp, ldap,\n"
    "        xmpp-client, xmpp-server, postgres, mysql, sieve, nntp, lmtp)\n"
    "        file:/etc/ssl/shop.pem (PEM, DER, PKCS#12)   mx://example.org\n"
    "\n"
    "What is asked:\n"
    "      --from FILE          targets from FILE, one a line (- : standard input)\n"
    "      --service NAME       the usual ports of a service on each host: mail, web,\n"
    "                           xmpp, ldap, ftp, database, news\n"
    "      --discover WHERE     find what speaks TLS: 192.0.2.0/28:443,8443, or\n"
    "                           zone:FILE; repeatable\n"
    "      --connect ADDRESS    go there instead of resolving the name; repeatable\n"
    "      --name-servers LIST  ask these (192.0.2.1:53,…) instead of the system's\n"
    "      --name HOST          the name to ask for and to judge by; also for files\n"
    "      --no-sni             also without a server name\n"
    "  -4, -6                   IPv4 or IPv6 addresses only\n"
    "      --deep               also what needs many handshakes: all of the next\n"
    "                           three, downgrades\n"
    "      --ciphers            versions and suites that are accepted\n"
    "      --resumption         resumption by ticket and by id\n"
    "      --renegotiation      renegotiation by the client\n"
    "      --browser            also as a browser does, with missing intermediates\n"
    "                           fetched\n"
    "      --no-fetch           fetch neither revocation lists nor the CA's renewal\n"
    "                           window\n"
    "      --ari URL            ACME directory of a CA to ask for the renewal window\n"
    "  -t, --timeout TIME       of each of connecting, STARTTLS and handshake\n"
    "                           (default 10s)\n"
    "\n"
    "How it is judged:\n"
    "      --store FILE         trust these CAs (PEM) instead of the system's;\n"
    "                           repeatable, all must\n"
    "      --store-ignoring-ends FILE\n"
    "                           the same for devices whose CAs serve beyond their own\n"
    "                           ends (old Android)\n"
    "      --at TIME            as if it were then: 2027-01-14, 2027-01-14T12:00:00Z,\n"
    "                           +30d\n"
    "      --pin SHA256         a public key that must be in the chain; repeatable\n"
    "  -w, --warning LEFT       warn with less left: 30 (days), 33%, 12h (default a\n"
    "                           third of the life, at most 30 days)\n"
    "  -c, --critical LEFT      critical with less left\n"
    "      --crl FILE           revocation lists (PEM, DER), asked before others;\n"
    "                           repeatable\n"
    "      --log-list FILE      certificate transparency logs, in JSON as Google and\n"
    "                           Apple publish them\n"
    "      --require-policy OID a certificate policy that must hold along the chain;\n"
    "                           repeatable, one must\n"
    "      --require-staple     a stapled OCSP response must be there\n"
    "      --require-hsts       https:// targets must send Strict-Transport-Security\n"
    "      --password-file FILE password of PKCS#12 files\n"
    "\n"
    "What is shown:\n"
    "      --json               one JSON object per endpoint and line\n"
    "                           (doc/check-json.md)\n"
    "      --nagios             one line and perfdata, as the plugin API wants; usage\n"
    "                           errors on it, too\n"
    "      --check-ssl-cert     with --nagios: ranges as check_ssl_cert writes them\n"
    "                           (30;14)\n"
    "      --prometheus         metrics in the names of blackbox_exporter and\n"
    "                           ssl_exporter\n"
    "      --trace              every message of the handshake and every certificate\n"
    "      --campaign TERMS     who still has a property: 'sig=sha1',\n"
    "                           'key=rsa,bits<3072', 'expires<30d', 'version<1.2',\n"
    "                           'finding=chain-incomplete'; with --json, too\n"
    "      --compare            who is configured alike, and what the others do\n"
    "                           differently; with --json, too\n"
    "  -h, --help               this text\n"
    "\n"
    "As plugins are called: -H HOST -p PORT -P PROTOCOL -I ADDRESS --sni NAME -f FILE\n"
    "-v, with -w -c -t -4 -6.\n"
    "\n"
    "Exit codes: 0 ok, 1 warning, 2 critical, 3 unknown: not to be found out, for a\n"
    "reason of ours (wrong usage, no DNS, interrupted). The worst counts: critical,\n"
    "warning, unknown, ok.\n";

enum {
    OPTION_FROM = 0x1000,
    OPTION_SERVICE,
    OPTION_DISCOVER,
    OPTION_CONNECT,
    OPTION_NAME_SERVERS,
    OPTION_NAME,
    OPTION_NO_SNI,
    OPTION_DEEP,
    OPTION_CIPHERS,
    OPTION_RESUMPTION,
    OPTION_RENEGOTIATION,
    OPTION_BROWSER,
    OPTION_NO_FETCH,
    OPTION_ARI,
    OPTION_CRL,
    OPTION_LOG_LIST,
    OPTION_STORE,
    OPTION_STORE_IGNORING_ENDS,
    OPTION_AT,
    OPTION_PIN,
    OPTION_REQUIRE_POLICY,
    OPTION_REQUIRE_STAPLE,
    OPTION_REQUIRE_HSTS,
    OPTION_PASSWORD_FILE,
    OPTION_JSON,
    OPTION_NAGIOS,
    OPTION_CHECK_SSL_CERT,
    OPTION_PROMETHEUS,
    OPTION_TRACE,
    OPTION_CAMPAIGN,
    OPTION_COMPARE
};

static const struct option long_options[] = {
    {"from", required_argument, NULL, OPTION_FROM},
    {"service", required_argument, NULL, OPTION_SERVICE},
    {"discover", required_argument, NULL, OPTION_DISCOVER},
    {"connect", required_argument, NULL, OPTION_CONNECT},
    {"resolve", required_argument, NULL, OPTION_CONNECT},
    {"name-servers", required_argument, NULL, OPTION_NAME_SERVERS},
    {"name", required_argument, NULL, OPTION_NAME},
    {"sni", required_argument, NULL, OPTION_NAME},
    {"no-sni", no_argument, NULL, OPTION_NO_SNI},
    {"deep", no_argument, NULL, OPTION_DEEP},
    {"ciphers", no_argument, NULL, OPTION_CIPHERS},
    {"resumption", no_argument, NULL, OPTION_RESUMPTION},
    {"renegotiation", no_argument, NULL, OPTION_RENEGOTIATION},
    {"browser", no_argument, NULL, OPTION_BROWSER},
    {"no-fetch", no_argument, NULL, OPTION_NO_FETCH},
    {"ari", required_argument, NULL, OPTION_ARI},
    {"crl", required_argument, NULL, OPTION_CRL},
    {"log-list", required_argument, NULL, OPTION_LOG_LIST},
    {"timeout", required_argument, NULL, 't'},
    {"store", required_argument, NULL, OPTION_STORE},
    {"store-ignoring-ends", required_argument, NULL, OPTION_STORE_IGNORING_ENDS},
    {"at", required_argument, NULL, OPTION_AT},
    {"pin", required_argument, NULL, OPTION_PIN},
    {"warning", required_argument, NULL, 'w'},
    {"critical", required_argument, NULL, 'c'},
    {"require-policy", required_argument, NULL, OPTION_REQUIRE_POLICY},
    {"require-staple", no_argument, NULL, OPTION_REQUIRE_STAPLE},
    {"require-hsts", no_argument, NULL, OPTION_REQUIRE_HSTS},
    {"password-file", required_argument, NULL, OPTION_PASSWORD_FILE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"nagios", no_argument, NULL, OPTION_NAGIOS},
    {"check-ssl-cert", no_argument, NULL, OPTION_CHECK_SSL_CERT},
    {"prometheus", no_argument, NULL, OPTION_PROMETHEUS},
    {"trace", no_argument, NULL, OPTION_TRACE},
    {"campaign", required_argument, NULL, OPTION_CAMPAIGN},
    {"compare", no_argument, NULL, OPTION_COMPARE},
    {"help", no_argument, NULL, 'h'},
    {0}};

/* ---- options with a value that is looked at ---- */

static int add_address(struct check_order *order, const char *text, struct error *error)
{
    struct checker_options *checker = &order->checker;

    if (checker->connect_count == ARRAY_SIZE(checker->connect))
        return error_set(error, ERROR_USAGE, "more than %zu addresses",
                         ARRAY_SIZE(checker->connect));
    return check_address(&checker->connect[checker->connect_count++], text, error);
}

static int set_name(struct check_order *order, const char *text, struct error *error)
{
    order->checker.name = order->name;
    return target_name(order->name, text, error);
}

static int add_store(struct check_order *order, const char *path, bool ignoring_ends,
                     struct error *error)
{
    struct checker_options *checker = &order->checker;
    const char *slash = strrchr(path, '/');

    if (checker->store_count == ARRAY_SIZE(checker->stores))
        return error_set(error, ERROR_USAGE, "more than %zu stores", ARRAY_SIZE(checker->stores));
    if (chain_store_new(&checker->stores[checker->store_count], slash != NULL ? slash + 1 : path,
                        path, error) != 0)
        return -(int)error->code;
    if (ignoring_ends)
        chain_store_ignore_ends(checker->stores[checker->store_count]);
    checker->store_count++;
    return 0;
}

static int add_pin(struct check_order *order, const char *text, struct error *error)
{
    struct check_policy *policy = &order->checker.policy;

    if (policy->pin_count == ARRAY_SIZE(policy->pins))
        return error_set(error, ERROR_USAGE, "more than %zu pins", ARRAY_SIZE(policy->pins));
    return pin_parse(policy->pins[policy->pin_count++], text, error);
}

static int add_policy(struct check_order *order, const char *text, struct error *error)
{
    struct chain_policies *policies = &order->checker.policy.policies;

    if (policies->count == ARRAY_SIZE(policies->accepted))
        return error_set(error, ERROR_USAGE, "more than %zu policies",
                         ARRAY_SIZE(policies->accepted));
    if (!oid_valid(text))
        return error_set(error, ERROR_USAGE,
                         "found \"%s\"; expected an object identifier such as 2.23.140.1.2.2",
                         text);
    policies->accepted[policies->count++] = text;
    policies->required = true;
    return 0;
}

static int add_list(struct check_order *order, const char *path, struct error *error)
{
    struct checker_options *checker = &order->checker;

    if (checker->crl_file_count == ARRAY_SIZE(checker->crl_files))
        return error_set(error, ERROR_USAGE, "more than %zu files of revocation lists",
                         ARRAY_SIZE(checker->crl_files));
    if (crl_file_read(&checker->crl_files[checker->crl_file_count], path, error) != 0)
        return -(int)error->code;
    checker->crl_file_count++;
    return 0;
}

static int read_logs(struct check_order *order, const char *path, struct error *error)
{
    struct certificate_logs *logs;

    if (log_list_read(&logs, path, error) != 0)
        return -(int)error->code;
    certificate_logs_free(order->logs);
    order->logs = logs;
    order->checker.policy.logs = logs;
    return 0;
}

static int set_timeout(struct check_order *order, const char *text, struct error *error)
{
    uint64_t ms;

    if (client_duration(&ms, text, error) != 0)
        return -(int)error->code;
    if (ms == 0 || ms > TIMEOUT_MAX_S * 1000)
        return error_set(error, ERROR_USAGE, "found \"%s\"; expected a time up to %u s", text,
                         TIMEOUT_MAX_S);
    order->checker.timeout_ms = (uint32_t)ms;
    return 0;
}

/* A password among the arguments would be seen by everybody on the machine. */
static int read_password(struct check_order *order, const char *path, struct error *error)
{
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return error_set(error, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    setvbuf(file, NULL, _IONBF, 0); /* no copy elsewhere */
    if (order->password == NULL)
        order->password = secret_alloc(CHECK_PASSWORD_SIZE);
    if (order->password == NULL || fgets(order->password, CHECK_PASSWORD_SIZE, file) == NULL) {
        ignore(fclose(file));
        return error_set(error, ERROR_IO, "%s holds no password", path);
    }
    ignore(fclose(file));
    order->password[strcspn(order->password, "\r\n")] = '\0';
    order->checker.file_password = order->password;
    return 0;
}

static int add_discovery(struct check_words *words, const char *where, struct error *error)
{
    if (words->discover_count == ARRAY_SIZE(words->discover))
        return error_set(error, ERROR_USAGE, "more than %zu of them", ARRAY_SIZE(words->discover));
    words->discover[words->discover_count++] = where;
    return 0;
}

static int value_option(struct check_order *order, struct check_words *words, int option,
                        struct error *error)
{
    switch (option) {
    case OPTION_DISCOVER:
        return add_discovery(words, optarg, error);
    case OPTION_CONNECT:
    case 'I':
        return add_address(order, optarg, error);
    case OPTION_NAME:
        return set_name(order, optarg, error);
    case OPTION_STORE:
    case OPTION_STORE_IGNORING_ENDS:
        return add_store(order, optarg, option == OPTION_STORE_IGNORING_ENDS, error);
    case OPTION_CRL:
        return add_list(order, optarg, error);
    case OPTION_LOG_LIST:
        return read_logs(order, optarg, error);
    case OPTION_PIN:
        return add_pin(order, optarg, error);
    case OPTION_REQUIRE_POLICY:
        return add_policy(order, optarg, error);
    case OPTION_AT:
        return check_moment(&order->checker.policy.at, optarg, time(NULL), error);
    case 'w':
        return check_threshold(&order->checker.policy.warning, optarg, error);
    case 'c':
        return check_threshold(&order->checker.policy.critical, optarg, error);
    case 't':
        return set_timeout(order, optarg, error);
    case OPTION_CAMPAIGN:
        order->campaign_text = optarg;
        return campaign_parse(&order->campaign, optarg, error);
    case OPTION_PASSWORD_FILE:
        return read_password(order, optarg, error);
    default:
        return 0;
    }
}

/* ---- options that are kept as they are ---- */

static bool word_option(struct check_order *order, struct check_words *words, int option)
{
    const struct {
        int option;
        const char **place;
    } texts[] = {{OPTION_FROM, &words->from},
                 {OPTION_SERVICE, &words->service},
                 {OPTION_NAME_SERVERS, &order->checker.name_servers},
                 {OPTION_ARI, &order->checker.renewal_directory},
                 {'H', &words->host},
                 {'p', &words->port},
                 {'P', &words->protocol},
                 {'f', &words->file}};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (texts[i].option == option) {
            *texts[i].place = optarg;
            return true;
        }
    }
    return false;
}

static bool flag_option(struct check_order *order, int option)
{
    struct checker_options *checker = &order->checker;
    const struct {
        int option;
        bool *place;
    } flags[] = {{OPTION_NO_SNI, &checker->without_sni},
                 {OPTION_DEEP, &checker->deep},
                 {OPTION_CIPHERS, &checker->ciphers},
                 {OPTION_RESUMPTION, &checker->resumption},
                 {OPTION_RENEGOTIATION, &checker->renegotiation},
                 {OPTION_BROWSER, &checker->browser},
                 {OPTION_NO_FETCH, &order->no_fetch},
                 {OPTION_REQUIRE_STAPLE, &checker->policy.require_staple},
                 {OPTION_REQUIRE_HSTS, &checker->policy.require_hsts},
                 {OPTION_CHECK_SSL_CERT, &order->nagios.compatible_ranges},
                 {'v', &order->nagios.verbose}};

    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        if (flags[i].option == option) {
            *flags[i].place = true;
            return true;
        }
    }
    return false;
}

static bool output_option(struct check_order *order, int option)
{
    static const struct {
        int option;
        enum check_output output;
    } outputs[] = {{OPTION_NAGIOS, CHECK_NAGIOS},
                   {OPTION_PROMETHEUS, CHECK_PROMETHEUS},
                   {OPTION_TRACE, CHECK_TRACE},
                   {OPTION_COMPARE, CHECK_COMPARE}};

    if (option == OPTION_JSON) {
        order->json = true;
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(outputs); i++) {
        if (outputs[i].option == option) {
            order->output = outputs[i].output;
            order->checker.trace |= option == OPTION_TRACE;
            return true;
        }
    }
    return false;
}

/* ---- all of them ---- */

static const char *option_name(int option)
{
    static char letter[3] = "-?";

    for (const struct option *known = long_options; known->name != NULL; known++) {
        if (known->val == option)
            return known->name;
    }
    letter[1] = (char)option;
    return letter;
}

/* `option`: ':' when its value is missing, '?' when it is not known. Among short ones that stand in
 * one word, getopt says which. */
static int complain_option(int option, const char *word, struct error *error)
{
    char shown[64];

    if (!string_starts_with(word, "--") && optopt > ' ' && optopt < 0x7f)
        ignore(snprintf(shown, sizeof shown, "-%c", optopt));
    else
        string_printable(shown, sizeof shown, word, strlen(word));
    ignore(error_set(error, ERROR_USAGE,
                     option == ':' ? "option %s needs a value; see --help"
                                   : "there is no option %s; see --help",
                     shown));
    return 3;
}

/* -1: go on. */
static int take_option(struct check_order *order, struct check_words *words, int option,
                       const char *word, struct error *error)
{
    if (option == 'h') {
        fputs(usage, stdout);
        return 0;
    }
    if (option == '4' || option == '6') {
        order->checker.family = option == '4' ? AF_INET : AF_INET6;
        return -1;
    }
    if (option == '?' || option == ':')
        return complain_option(option, word, error);
    if (word_option(order, words, option) || flag_option(order, option) ||
        output_option(order, option))
        return -1;
    if (value_option(order, words, option, error) != 0) {
        ignore(error_prepend(error, "--%s", option_name(option)));
        return 3;
    }
    return -1;
}

/* The time for a whole plugin's run is -t: each step gets a little less, so that its own time-out,
 * which says more, comes first. */
static void settle_plugin(struct check_order *order)
{
    const struct check_policy *policy = &order->checker.policy;

    if (order->output != CHECK_NAGIOS)
        return;
    order->total_timeout_ms = order->checker.timeout_ms;
    order->checker.timeout_ms = order->checker.timeout_ms / 10 * 9;
    order->nagios.warning_d = (double)policy->warning.seconds / 86400;
    order->nagios.critical_d = (double)policy->critical.seconds / 86400;
    order->nagios.warning_l = policy->warning.share;
    order->nagios.critical_l = policy->critical.share;
}

static bool any_https(const struct check_order *order)
{
    bool any = false;

    for (size_t i = 0; i < order->count; i++)
        any = any || order->targets[i].https;
    return any;
}

static int settle(struct check_order *order, struct error *error)
{
    struct checker_options *checker = &order->checker;

    if (checker->policy.require_hsts && !any_https(order))
        return error_set(
            error, ERROR_USAGE,
            "--require-hsts: no target is asked by HTTP; expected https://shop.example");
    if (order->campaign_text != NULL)
        order->output = CHECK_CAMPAIGN;
    else if (order->json && (order->output == CHECK_TABLE || order->output == CHECK_TRACE))
        order->output = CHECK_JSON; /* the messages of --trace are in the objects */
    if (checker->timeout_ms == 0)
        checker->timeout_ms = TIMEOUT_S * 1000;
    unsigned possible = checker_connections_possible();
    checker->connections_max = possible < CONNECTIONS ? possible : CONNECTIONS;
    checker->fetch_crls = checker->fetch_renewal_information = !order->no_fetch;
    settle_plugin(order);
    checker->revocation.timeout_ms = checker->timeout_ms;
    if (checker->store_count > 0)
        return 0;
    checker->store_count = 1;
    return chain_store_new(&checker->stores[0], "system", NULL, error);
}

int check_complain(const struct check_order *order, const struct error *error)
{
    if (order->output == CHECK_NAGIOS)
        printf("SSL_CERT UNKNOWN - %s\n", error->message);
    else
        fprintf(stderr, "holdfast check: %s\n", error->message);
    return 3;
}

int check_options(struct check_order *order, int argc, char **argv)
{
    struct check_words words = {0};
    struct error error = {0};
    int option, code = -1;

    opterr = 0;
    for (int i = 1; i < argc; i++) { /* so that any complaint goes where a plugin's belongs */
        if (strcmp(argv[i], "--nagios") == 0)
            order->output = CHECK_NAGIOS;
    }
    while (code < 0 &&
           (option = getopt_long(argc, argv, ":w:c:t:46H:p:P:I:f:vh", long_options, NULL)) != -1)
        code = take_option(order, &words, option, argv[optind - 1], &error);
    if (code == 0)
        return 0;
    if (code < 0 &&
        check_targets(order, &words, argv + optind, (size_t)(argc - optind), &error) == 0 &&
        settle(order, &error) == 0)
        return -1;
    return check_complain(order, &error);
}
