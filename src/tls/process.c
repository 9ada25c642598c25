/* One-time preparation of OpenSSL in this process. */
#include "tls/handshake.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "tls/key_schedule.h"
#include "tls/process_memory.h"

void tls_process_init(void)
{
    process_memory_init();
    /* No configuration file: what the handshakes do is decided by the listener's policy alone. No
     * atexit handler: workers end by _exit or by a signal, and the libraries' own clean-up order
     * must not matter. */
    ignore(OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT |
                                OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS,
                            NULL));
    ignore(key_schedule_load()); /* without it each detaching fails and says so */
}
