#include "net/curl_library.h"

#include "base/library.h"

#define FUNCTION(name)                                                                             \
    {                                                                                              \
        "curl_" #name, offsetof(struct curl_library, name)                                         \
    }

static const struct library_function functions[] = {
    FUNCTION(easy_cleanup),  FUNCTION(easy_getinfo),
    FUNCTION(easy_init),     FUNCTION(easy_setopt),
    FUNCTION(easy_strerror), FUNCTION(free),
    FUNCTION(global_init),   FUNCTION(multi_add_handle),
    FUNCTION(multi_cleanup), FUNCTION(multi_info_read),
    FUNCTION(multi_init),    FUNCTION(multi_remove_handle),
    FUNCTION(multi_setopt),  FUNCTION(multi_socket_action),
    FUNCTION(slist_append),  FUNCTION(slist_free_all),
    FUNCTION(url),           FUNCTION(url_cleanup),
    FUNCTION(url_get),       FUNCTION(url_set),
};
_Static_assert(ARRAY_SIZE(functions) == sizeof(struct curl_library) / sizeof(void (*)(void)),
               "every pointer is filled");

int curl_library_load(const struct curl_library **ret_curl, struct error *error)
{
    static const struct library library = {"libcurl.so.4", "libcurl4", functions,
                                           ARRAY_SIZE(functions)};
    static struct curl_library curl;

    int result = library_load(&curl, &library, error);
    if (result < 0)
        return result;
    if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(error, ERROR_MEMORY, "libcurl cannot be initialised: out of memory");
    *ret_curl = &curl;
    return 0;
}
