#include "admin/mhd_library.h"

#include "base/library.h"

#define FUNCTION(name)                                                                             \
    {                                                                                              \
        "MHD_" #name, offsetof(struct mhd_library, name)                                           \
    }

static const struct library_function functions[] = {
    FUNCTION(add_response_header),
    FUNCTION(create_post_processor),
    FUNCTION(create_response_from_buffer),
    FUNCTION(destroy_post_processor),
    FUNCTION(destroy_response),
    FUNCTION(get_connection_info),
    FUNCTION(get_daemon_info),
    FUNCTION(get_timeout),
    FUNCTION(lookup_connection_value),
    FUNCTION(post_process),
    FUNCTION(queue_response),
    FUNCTION(resume_connection),
    FUNCTION(run),
    FUNCTION(start_daemon),
    FUNCTION(stop_daemon),
    FUNCTION(suspend_connection),
};
_Static_assert(ARRAY_SIZE(functions) == sizeof(struct mhd_library) / sizeof(void (*)(void)),
               "every pointer is filled");

int mhd_library_load(const struct mhd_library **ret_mhd, struct error *error)
{
    static const struct library library = {"libmicrohttpd.so.12", "libmicrohttpd12", functions,
                                           ARRAY_SIZE(functions)};
    static struct mhd_library mhd;

    int result = library_load(&mhd, &library, error);
    if (result < 0)
        return result;
    *ret_mhd = &mhd;
    return 0;
}
