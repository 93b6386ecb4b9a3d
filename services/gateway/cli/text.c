/* Numbers and times for people. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "services/gateway/cli/cli.h"

const char *cli_bytes(uint64_t bytes, char text[CLI_TEXT])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes / 1000;
    size_t unit = 0;
    if (bytes < 1000) {
        (void)snprintf(text, CLI_TEXT, "%u B", (unsigned)bytes);
        return text;
    }
    while (value >= 999.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(text, CLI_TEXT, "%.1f %s", value, units[unit]);
    return text;
}

const char *cli_duration(int64_t ms, char text[CLI_TEXT])
{
    const long long s = (ms > 0 ? ms : 0) / 1000;
    if (ms < 10000)
        (void)snprintf(text, CLI_TEXT, "%.1f s", (double)(ms > 0 ? ms : 0) / 1000);
    else if (s < 60)
        (void)snprintf(text, CLI_TEXT, "%lld s", s);
    else if (s < 3600)
        (void)snprintf(text, CLI_TEXT, "%lld m %lld s", s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(text, CLI_TEXT, "%lld h %lld m", s / 3600, s / 60 % 60);
    else
        (void)snprintf(text, CLI_TEXT, "%lld d %lld h", s / 86400, s / 3600 % 24);
    return text;
}

const char *cli_when(int64_t unix_ms, char text[CLI_TEXT])
{
    const time_t seconds = (time_t)(unix_ms / 1000);
    struct tm local;
    text[0] = '\0';
    if (unix_ms > 0 && localtime_r(&seconds, &local))
        (void)strftime(text, CLI_TEXT, "%Y-%m-%d %H:%M:%S", &local);
    return text;
}

const char *cli_count(uint64_t n, char text[CLI_TEXT])
{
    (void)snprintf(text, CLI_TEXT, "%llu", (unsigned long long)n);
    return text;
}

const char *cli_some(uint64_t n, const char *one, const char *many, char text[CLI_TEXT])
{
    (void)snprintf(text, CLI_TEXT, "%llu %s", (unsigned long long)n, n == 1 ? one : many);
    return text;
}

char *cli_clean(const char *text)
{
    char *const copy = cli_must(strdup(text ? text : "")), *to = copy;
    for (const char *c = copy; *c; c++) {
        /* U+0080 to U+009F in UTF-8, which some terminals obey like those of ASCII. */
        const bool high = (unsigned char)c[0] == 0xC2 && (unsigned char)c[1] >= 0x80 &&
                          (unsigned char)c[1] < 0xA0;
        *to++ = high || iscntrl((unsigned char)*c) ? '?' : *c;
        c += high;
    }
    *to = '\0';
    return copy;
}

char *cli_wrap(const char *text, size_t width)
{
    char *const copy = cli_must(strdup(text));
    char *space = NULL; /* the last of the line where it may be broken */
    size_t column = 0;
    bool example = false;
    for (char *c = copy; *c; c++) {
        if (c == copy || c[-1] == '\n')
            example = *c == ' ' || strncmp(c, "Example", 7) == 0;
        if (*c == '\n') {
            column = 0;
            space = NULL;
            continue;
        }
        if (*c == ' ')
            space = c;
        column += ((unsigned char)*c & 0xC0u) != 0x80u;
        if (column > width && space && !example) {
            *space = '\n';
            column = (size_t)(c - space); /* bytes: a line too short by a character is no harm */
            space = NULL;
        }
    }
    return copy;
}

size_t cli_width(int fd)
{
    struct winsize size;
    return isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool cli_colour(int fd)
{
    const char *const no = getenv("NO_COLOR"), *const terminal = getenv("TERM");
    return isatty(fd) && !(no && *no) && !(terminal && strcmp(terminal, "dumb") == 0);
}
