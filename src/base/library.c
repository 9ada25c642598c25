#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

int library_load(void *ret_functions, const struct library *library, struct error *error)
{
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);

    if (handle == NULL)
        return error_set(error, ERROR_IO, "this needs Debian's package %s, or the like: %s",
                         library->package, dlerror());
    for (size_t i = 0; i < library->count; i++) {
        if (dlsym(handle, library->functions[i].name) == NULL)
            return error_set(error, ERROR_IO,
                             "this needs Debian's package %s, of Debian 12 or newer: found a %s "
                             "without %s()",
                             library->package, library->file, library->functions[i].name);
    }
    for (size_t i = 0; i < library->count; i++) {
        void *function = dlsym(handle, library->functions[i].name);
        memcpy((char *)ret_functions + library->functions[i].place, &function, sizeof function);
    }
    return 0;
}
