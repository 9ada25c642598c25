#include "watch/checks/check.h"

void check_endpoint(struct endpoint *endpoint, const struct check_policy *policy)
{
    static check_fn *const checks[] = {
#define X(function, title) function,
        CHECK_LIST(X)
#undef X
            NULL};

    for (size_t i = 0; checks[i] != NULL; i++)
        checks[i](endpoint, policy, &endpoint->findings);
}
