/* classes.csv: the names of the classes and super-classes of a listing. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/file.h"
#include "lib/dataset/internal.h"

static const char csv_name[] = "classes.csv";
#define MAX_CSV_BYTES ((size_t)64 << 20)

enum { COL_CLASS, COL_CLASS_ID, COL_SUPER, COL_SUPER_ID, N_COLS };
static const char *const col_names[N_COLS] = {
    "Class Name", "Class ID", "Coarse Class Name", "Coarse Class ID"};

typedef struct csv_row {
    uint32_t line;
    uint32_t value[N_COLS]; /* names as offsets in the text, ids as the listing counts them */
} csv_row;

typedef struct csv_reader {
    kd_dataset *dataset;
    uint32_t line;      /* at hand */
    int col_at[N_COLS]; /* which field of a line each column is; -1: not there */
    kd_buf field;       /* at hand, without its quotes */
    csv_row *rows;
    size_t n, cap;
} csv_reader;

/* Reads the field at *at into csv->field (RFC 4180: "" in quotes is a quote) and moves *at behind
 * its comma; *at is NULL after the last field. A field ends with its line. */
static kd_status next_field(csv_reader *csv, const char **at, const char *end, kd_error *err)
{
    const char *p = *at;
    bool quoted = p < end && *p == '"', closed = !quoted;
    csv->field.len = 0;
    for (p += quoted; p < end && (quoted || *p != ','); p++) {
        if (quoted && *p == '"') {
            if (p + 1 < end && p[1] == '"') {
                p++;
            } else {
                quoted = false;
                closed = true;
                continue;
            }
        }
        kd_buf_append(&csv->field, p, 1);
    }
    kd_buf_append(&csv->field, "", 0); /* a NUL behind an empty field too */
    if (!kd_buf_ok(&csv->field))
        return kd_error_memory(err, csv_name);
    if (!closed)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: a quoted field has no closing quote",
            csv_name, csv->line);
    *at = p < end ? p + 1 : NULL;
    return KD_OK;
}

/* "Class Name (str)" is the column Class Name. */
static bool is_column(const char *field, const char *name)
{
    const size_t len = strlen(name);
    return strncasecmp(field, name, len) == 0 && (field[len] == '\0' || field[len] == ' ');
}

static kd_status read_header(csv_reader *csv, const char *text, size_t len, kd_error *err)
{
    const char *at = text;
    for (size_t col = 0; col < N_COLS; col++)
        csv->col_at[col] = -1;
    for (int i = 0; at; i++) {
        const kd_status status = next_field(csv, &at, text + len, err);
        if (status != KD_OK)
            return status;
        for (size_t col = 0; col < N_COLS; col++)
            if (csv->col_at[col] < 0 && is_column((const char *)csv->field.data, col_names[col]))
                csv->col_at[col] = i;
    }
    for (size_t col = 0; col < N_COLS; col++)
        if (csv->col_at[col] < 0)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: there is no column '%s'",
                csv_name, csv->line, col_names[col]);
    return KD_OK;
}

static kd_status read_value(csv_reader *csv, size_t col, uint32_t *value, kd_error *err)
{
    const char *const field = (const char *)csv->field.data;
    const size_t len = csv->field.len;
    if (col == COL_CLASS || col == COL_SUPER) {
        if (len == 0)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: the %s is empty", csv_name,
                csv->line, col_names[col]);
        return kd_dataset_add_text(csv->dataset, field, len, value, err);
    }
    uint64_t id;
    if (!kd_parse_u64(field, 0, UINT32_MAX - 1, &id))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s:%u: the %s '%.*s' is not a number from 0 to %u", csv_name, csv->line,
            col_names[col], kd_excerpt(field, len), field, UINT32_MAX - 1);
    *value = (uint32_t)id + 1; /* the listing counts from 1 */
    return KD_OK;
}

static kd_status read_row(csv_reader *csv, const char *text, size_t len, kd_error *err)
{
    kd_status status = KD_OK;
    csv_row row = {.line = csv->line};
    size_t seen = 0;
    const char *at = text;
    for (int i = 0; at && status == KD_OK; i++) {
        status = next_field(csv, &at, text + len, err);
        for (size_t col = 0; col < N_COLS && status == KD_OK; col++) {
            if (csv->col_at[col] == i) {
                status = read_value(csv, col, &row.value[col], err);
                seen++;
            }
        }
    }
    if (status == KD_OK && seen < N_COLS)
        status = kd_error_set(
            err, KD_INVALID_ARGUMENT, "%s:%u: the line has too few fields", csv_name, csv->line);
    if (status != KD_OK)
        return status;
    if (csv->n == csv->cap) {
        const size_t cap = csv->cap ? 2 * csv->cap : 64;
        void *const rows = reallocarray(csv->rows, cap, sizeof *csv->rows);
        if (!rows)
            return kd_error_memory(err, csv_name);
        csv->rows = rows;
        csv->cap = cap;
    }
    csv->rows[csv->n++] = row;
    return KD_OK;
}

static kd_status read_rows(csv_reader *csv, const kd_buf *bytes, kd_error *err)
{
    kd_status status = KD_OK;
    const char *at = bytes->len ? (const char *)bytes->data : "";
    const char *const end = at + bytes->len;
    const char *text;
    size_t len;
    if (bytes->len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
        at += 3;
    while (status == KD_OK && (text = kd_next_line(&at, end, &len)) != NULL) {
        csv->line++;
        if (!kd_utf8_valid(text, len))
            status = kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: the line is not valid UTF-8",
                csv_name, csv->line);
        else if (csv->line == 1)
            status = read_header(csv, text, len, err);
        else if (len > 0)
            status = read_row(csv, text, len, err);
    }
    if (status == KD_OK && csv->n == 0)
        status = kd_error_set(err, KD_INVALID_ARGUMENT, "%s names no class", csv_name);
    return status;
}

/* Fills labels with each id's name, sorted; two lines that name the same id must agree, and for a
 * class there must be one line only. */
static kd_status collect(
    const csv_reader *csv, kd_labels *labels, size_t id_col, size_t name_col, kd_error *err)
{
    kd_status status = KD_OK;
    kd_pair *const pairs = calloc(csv->n + 1, sizeof *pairs);
    if (!pairs)
        return kd_error_memory(err, csv_name);
    for (size_t i = 0; i < csv->n; i++)
        pairs[i] = (kd_pair){csv->rows[i].value[id_col], (uint32_t)i};
    kd_pairs_sort(pairs, csv->n);
    for (size_t i = 0; i < csv->n && status == KD_OK; i++) {
        const csv_row *const now = &csv->rows[pairs[i].index];
        if (i == 0 || pairs[i].key != pairs[i - 1].key) {
            status = kd_labels_add(labels, now->value[id_col], now->value[name_col], err);
            continue;
        }
        const csv_row *const before = &csv->rows[pairs[i - 1].index];
        const char *const name = kd_dataset_text(csv->dataset, now->value[name_col]);
        const char *const other = kd_dataset_text(csv->dataset, before->value[name_col]);
        if (id_col == COL_CLASS_ID)
            status = kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: %s %u is on line %u already",
                csv_name, now->line, col_names[id_col], now->value[id_col] - 1, before->line);
        else if (strcmp(name, other) != 0)
            status = kd_error_set(err, KD_INVALID_ARGUMENT,
                "%s:%u: %s %u is named '%.*s', but '%.*s' on line %u", csv_name, now->line,
                col_names[id_col], now->value[id_col] - 1, kd_excerpt(name, strlen(name)), name,
                kd_excerpt(other, strlen(other)), other, before->line);
    }
    free(pairs);
    return status;
}

/* The names would be wrong without a word when the two files disagree: a classes.csv of another
 * set, or one that counts from 1. */
static kd_status check_against_listing(
    const csv_reader *csv, const kd_origin *origin, const kd_pair *by_class, kd_error *err)
{
    const kd_dataset *const dataset = csv->dataset;
    for (size_t i = 0; i < csv->n; i++) {
        const csv_row *const row = &csv->rows[i];
        size_t low = 0, high = dataset->n_items; /* the class's first item */
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            if (by_class[middle].key < row->value[COL_CLASS_ID])
                low = middle + 1;
            else
                high = middle;
        }
        if (low == dataset->n_items || by_class[low].key != row->value[COL_CLASS_ID])
            continue;
        const uint32_t index = by_class[low].index;
        const uint32_t listed = dataset->items[index].super_class_id;
        if (listed != row->value[COL_SUPER_ID])
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "%s:%u: class %u is under coarse class %u, but class_id %u is under super_class_id "
                "%u on %s:%u (ids of %s count from 0, the listing's from 1)",
                csv_name, row->line, row->value[COL_CLASS_ID] - 1, row->value[COL_SUPER_ID] - 1,
                row->value[COL_CLASS_ID], listed, kd_origin_file(origin, index),
                dataset->lines[index], csv_name);
    }
    return KD_OK;
}

kd_status kd_dataset_read_names(
    kd_dataset *dataset, const kd_origin *origin, const kd_pair *by_class, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    csv_reader csv = {.dataset = dataset};
    kd_status status = KD_OK;
    char *const path = kd_format("%s/%s", dataset->dir, csv_name);
    if (!path)
        return kd_error_memory(err, csv_name);
    if (!kd_is_file(path))
        goto out;
    status = kd_file_read(path, MAX_CSV_BYTES, &bytes, err);
    if (status == KD_OK)
        status = read_rows(&csv, &bytes, err);
    if (status == KD_OK)
        status = collect(&csv, &dataset->classes, COL_CLASS_ID, COL_CLASS, err);
    if (status == KD_OK)
        status = collect(&csv, &dataset->super_classes, COL_SUPER_ID, COL_SUPER, err);
    if (status == KD_OK)
        status = check_against_listing(&csv, origin, by_class, err);
out:
    free(path);
    free(csv.rows);
    kd_buf_free(&csv.field);
    kd_buf_free(&bytes);
    return status;
}
