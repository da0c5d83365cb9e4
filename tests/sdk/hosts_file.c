/* What lines in the hosts file do: names that end in .test lead to this machine. To be preloaded by a test, which may not
 * change that file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*ask)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    size_t length = name ? strlen(name) : 0;

    *(void **)&ask = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!ask)
        return EAI_FAIL;
    return ask(length > 5 && strcmp(name + length - 5, ".test") == 0 ? "127.0.0.1" : name, service, hints, found);
}
