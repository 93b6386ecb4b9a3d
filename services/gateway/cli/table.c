/* Tables for people. */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"

struct cli_table {
    char **cells; /* owned: rows × n; the first row is the heads where there are any */
    size_t n, rows, cap;
    bool heads;
};

cli_table *cli_table_new(const char *const *heads, size_t n)
{
    cli_table *const table = cli_must(calloc(1, sizeof *table));
    table->n = n;
    table->heads = heads != NULL;
    if (heads)
        cli_table_row(table, heads);
    return table;
}

/* Room for one more row: its n cells, to be set. */
static char **add_row(cli_table *table)
{
    if (table->rows == table->cap) {
        table->cap = table->cap ? 2 * table->cap : 16;
        table->cells =
            cli_must(reallocarray(table->cells, table->cap, table->n * sizeof *table->cells));
    }
    return &table->cells[table->rows++ * table->n];
}

void cli_table_row(cli_table *table, const char *const *cells)
{
    char **const row = add_row(table);
    for (size_t i = 0; i < table->n; i++)
        row[i] = cli_clean(cells[i]);
}

void cli_table_field(cli_table *table, const char *name, const char *value)
{
    assert(table->n == 2);
    if (!value || !*value)
        return;
    char **const row = add_row(table);
    row[0] = cli_clean(name);
    row[1] = cli_clean(value);
}

/* Characters of UTF-8 text: bytes that don't continue one. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0u) != 0x80u;
    return n;
}

static bool is_number(const char *text)
{
    if (*text == '-')
        text++;
    return isdigit((unsigned char)*text) && text[strspn(text, "0123456789.")] == '\0';
}

static size_t column_width(const cli_table *table, size_t column)
{
    size_t width = 0;
    for (size_t row = 0; row < table->rows; row++) {
        const size_t cell = width_of(table->cells[row * table->n + column]);
        width = cell > width ? cell : width;
    }
    return width;
}

/* All cells below the head are numbers, or empty. */
static bool column_of_numbers(const cli_table *table, size_t column)
{
    bool some = false;
    for (size_t row = table->heads; row < table->rows; row++) {
        const char *const cell = table->cells[row * table->n + column];
        if (*cell && !is_number(cell))
            return false;
        some |= *cell != '\0';
    }
    return table->heads && some;
}

/* ---- Narrow terminals ---- */

#define CUT_LEAST 24u /* characters: times, sizes and most names are shorter */

/* Sentences and paths may be cut, and lose the end or the beginning; names and ids, which people
 * copy, are neither. */
static bool column_of_prose(const cli_table *table, size_t column)
{
    for (size_t row = table->heads; row < table->rows; row++)
        if (strpbrk(table->cells[row * table->n + column], " /"))
            return true;
    return false;
}

static void fit(const cli_table *table, size_t *widths, size_t width)
{
    bool *const prose = cli_must(calloc(table->n, sizeof *prose));
    size_t total = 2 * (table->n - 1);
    for (size_t i = 0; i < table->n; i++) {
        total += widths[i];
        prose[i] = column_of_prose(table, i);
    }
    while (total > width) {
        size_t widest = table->n;
        for (size_t i = 0; i < table->n; i++)
            if (prose[i] && widths[i] > CUT_LEAST &&
                (widest == table->n || widths[i] > widths[widest]))
                widest = i;
        if (widest == table->n)
            break;
        widths[widest]--;
        total--;
    }
    free(prose);
}

/* The place behind the first n characters. */
static const char *behind(const char *text, size_t n)
{
    while (*text && (n > 0 || ((unsigned char)*text & 0xC0u) == 0x80u)) {
        n -= ((unsigned char)*text & 0xC0u) != 0x80u;
        text++;
    }
    return text;
}

static void put_cell(kd_buf *out, const char *cell, size_t width)
{
    const size_t len = width_of(cell);
    if (len <= width)
        kd_buf_puts(out, cell);
    else if (strchr(cell, '/') && !strchr(cell, ' '))
        kd_buf_printf(out, "…%s", behind(cell, len - width + 1));
    else
        kd_buf_printf(out, "%.*s…", (int)(behind(cell, width - 1) - cell), cell);
}

static void pad(kd_buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kd_buf_puts(out, " ");
}

char *cli_table_text(const cli_table *table, bool bold_heads, size_t width)
{
    kd_buf out = KD_BUF_INIT;
    size_t *const widths = cli_must(calloc(table->n, sizeof *widths));
    bool *const right = cli_must(calloc(table->n, sizeof *right));
    for (size_t i = 0; i < table->n; i++) {
        widths[i] = column_width(table, i);
        right[i] = column_of_numbers(table, i);
    }
    if (width > 0 && table->heads)
        fit(table, widths, width);
    for (size_t row = 0; row < table->rows; row++) {
        const bool bold = bold_heads && table->heads && row == 0;
        if (bold)
            kd_buf_puts(&out, "\033[1m");
        for (size_t i = 0; i < table->n; i++) {
            const char *const cell = table->cells[row * table->n + i];
            const size_t len = width_of(cell), rest = len < widths[i] ? widths[i] - len : 0;
            if (right[i])
                pad(&out, rest);
            put_cell(&out, cell, widths[i]);
            if (!right[i] && i + 1 < table->n)
                pad(&out, rest);
            if (i + 1 < table->n)
                kd_buf_puts(&out, "  ");
        }
        kd_buf_puts(&out, bold ? "\033[0m\n" : "\n");
    }
    kd_buf_append(&out, "", 1);
    free(widths);
    free(right);
    return cli_must(kd_buf_ok(&out) ? (char *)out.data : NULL);
}

void cli_table_print(cli_table *table)
{
    char *const text = cli_table_text(table, cli_colour(STDOUT_FILENO), cli_width(STDOUT_FILENO));
    (void)fputs(text, stdout);
    free(text);
    cli_table_free(table);
}

void cli_table_free(cli_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->rows * table->n; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}
