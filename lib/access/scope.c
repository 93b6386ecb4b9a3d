#include <string.h>

#include "lib/access/access.h"

static const char *const names[] = {"open", "read", "write", "admin"};

const char *kd_scope_name(kd_scope scope)
{
    return names[scope];
}

bool kd_scope_parse(const char *word, kd_scope *out)
{
    for (size_t i = KD_SCOPE_READ; i <= KD_SCOPE_ADMIN; i++) {
        if (strcmp(word, names[i]) == 0) {
            *out = (kd_scope)i;
            return true;
        }
    }
    return false;
}

bool kd_is_loopback(const char *address)
{
    static const char *const hosts[] = {"localhost:", "[::1]:"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++)
        if (strncmp(address, hosts[i], strlen(hosts[i])) == 0)
            return true;
    /* Not a name that only begins so: 127.evil.example. */
    const char *const colon = strrchr(address, ':');
    const size_t host = colon ? (size_t)(colon - address) : strlen(address);
    return strncmp(address, "127.", 4) == 0 && strspn(address, "0123456789.") == host;
}
