/* Listings in the form of Stanford Online Products, one line at a time. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/dataset/internal.h"

#define MAX_LISTING_BYTES ((size_t)1 << 30)

typedef struct text_line {
    const char *text; /* len bytes, no NUL behind them */
    size_t len;
    const char *file;
    uint32_t number;
} text_line;

const char *kd_next_line(const char **at, const char *end, size_t *len)
{
    const char *const start = *at;
    if (start >= end)
        return NULL;
    const char *stop = memchr(start, '\n', (size_t)(end - start));
    *at = stop ? stop + 1 : end;
    if (!stop)
        stop = end;
    while (stop > start && stop[-1] == '\r')
        stop--;
    *len = (size_t)(stop - start);
    return start;
}

int kd_excerpt(const char *text, size_t len)
{
    const size_t most = 40;
    if (len <= most)
        return (int)len;
    len = most;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return (int)len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Cuts the next word off the line; false when there is none. */
static bool take_word(const char **at, size_t *left, const char **word, size_t *len)
{
    while (*left > 0 && is_blank(**at)) {
        (*at)++;
        (*left)--;
    }
    *word = *at;
    while (*left > 0 && !is_blank(**at)) {
        (*at)++;
        (*left)--;
    }
    *len = (size_t)(*at - *word);
    return *len > 0;
}

static kd_status parse_id(const text_line *where, const char *field, const char *word, size_t len,
    uint64_t max, uint64_t *out, kd_error *err)
{
    char digits[24]; /* longer than any allowed number */
    if (len < sizeof digits) {
        memcpy(digits, word, len);
        digits[len] = '\0';
        if (kd_parse_u64(digits, 1, max, out))
            return KD_OK;
    }
    return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: %s '%.*s' is not a number from 1 to %llu",
        where->file, where->number, field, kd_excerpt(word, len), word, (unsigned long long)max);
}

/* True when one of the path's parts is "..". */
static bool climbs(const char *path, size_t len)
{
    for (size_t start = 0; start <= len;) {
        const char *const slash = memchr(path + start, '/', len - start);
        const size_t stop = slash ? (size_t)(slash - path) : len;
        if (stop - start == 2 && path[start] == '.' && path[start + 1] == '.')
            return true;
        start = stop + 1;
    }
    return false;
}

static kd_status check_path(const text_line *where, const char *path, size_t len, kd_error *err)
{
    const char *wrong = NULL;
    if (path[0] == '/')
        wrong = "is absolute, expected one relative to the listing";
    else if (climbs(path, len))
        wrong = "climbs out of its folder with '..'";
    else if (path[len - 1] == '/')
        wrong = "is a folder";
    if (wrong)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: path '%.*s' %s", where->file,
            where->number, kd_excerpt(path, len), path, wrong);
    if (len >= KD_DATASET_MAX_PATH)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: path has %zu bytes, allowed %u",
            where->file, where->number, len, KD_DATASET_MAX_PATH - 1);
    return KD_OK;
}

/* The path is the rest of the line: it may hold blanks. */
static kd_status parse_line(kd_dataset *dataset, const text_line *where, kd_error *err)
{
    static const char *const fields[] = {"image_id", "class_id", "super_class_id"};
    const uint64_t max[] = {KD_DATASET_MAX_ID, UINT32_MAX, UINT32_MAX};
    uint64_t ids[3];
    const char *at = where->text, *words[4];
    size_t left = where->len, lens[4];

    for (size_t i = 0; i < 4; i++) {
        if (!take_word(&at, &left, &words[i], &lens[i]))
            return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: expected 4 fields, found %zu",
                where->file, where->number, i);
    }
    for (size_t i = 0; i < 3; i++) {
        const kd_status status =
            parse_id(where, fields[i], words[i], lens[i], max[i], &ids[i], err);
        if (status != KD_OK)
            return status;
    }
    size_t path_len = (size_t)(where->text + where->len - words[3]);
    while (is_blank(words[3][path_len - 1]))
        path_len--;
    kd_status status = check_path(where, words[3], path_len, err);
    if (status != KD_OK)
        return status;
    kd_item item = {
        .image_id = ids[0], .class_id = (uint32_t)ids[1], .super_class_id = (uint32_t)ids[2]};
    status = kd_dataset_add_text(dataset, words[3], path_len, &item.path, err);
    if (status == KD_OK)
        status = kd_dataset_add_item(dataset, item, where->number, err);
    return status;
}

static bool is_header(const text_line *first)
{
    static const char *const names[] = {"image_id", "class_id", "super_class_id", "path"};
    const char *at = first->text, *word;
    size_t left = first->len, len;
    for (size_t i = 0; i < 4; i++) {
        if (!take_word(&at, &left, &word, &len) || len != strlen(names[i]) ||
            memcmp(word, names[i], len) != 0)
            return false;
    }
    return !take_word(&at, &left, &word, &len);
}

static kd_status check_bytes(const text_line *where, kd_error *err)
{
    if (!kd_utf8_valid(where->text, where->len))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: the line is not valid UTF-8",
            where->file, where->number);
    for (size_t i = 0; i < where->len; i++) {
        const unsigned char c = (unsigned char)where->text[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "%s:%u: the line holds the control character 0x%02x", where->file, where->number,
                c);
    }
    return KD_OK;
}

static kd_status parse(kd_dataset *dataset, const char *name, const kd_buf *bytes, kd_error *err)
{
    kd_status status = KD_OK;
    const char *at = bytes->len ? (const char *)bytes->data : "";
    const char *const end = at + bytes->len;
    const size_t before = dataset->n_items;
    uint32_t blank = 0; /* the first of the blank lines just read */
    text_line now = {.file = name};

    if (bytes->len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
        at += 3;
    while (status == KD_OK && (now.text = kd_next_line(&at, end, &now.len)) != NULL) {
        now.number++;
        size_t blanks = 0;
        while (blanks < now.len && is_blank(now.text[blanks]))
            blanks++;
        if (now.number > 1 && blanks == now.len) { /* allowed at the end only */
            blank = blank ? blank : now.number;
            continue;
        }
        if (blank)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: the line is blank", name, blank);
        status = check_bytes(&now, err);
        if (status == KD_OK && now.number > 1)
            status = parse_line(dataset, &now, err);
        else if (status == KD_OK && !is_header(&now))
            status = kd_error_set(err, KD_INVALID_ARGUMENT,
                "%s:1: expected the header 'image_id class_id super_class_id path', found '%.*s'",
                name, kd_excerpt(now.text, now.len), now.text);
    }
    if (status == KD_OK && dataset->n_items == before)
        status = kd_error_set(err, KD_INVALID_ARGUMENT, "%s lists no image", name);
    return status;
}

kd_status kd_dataset_read_listing(kd_dataset *dataset, const char *name, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    char *const path = kd_format("%s/%s", dataset->dir, name);
    kd_status status =
        path ? kd_file_read(path, MAX_LISTING_BYTES, &bytes, err) : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = parse(dataset, name, &bytes, err);
    kd_buf_free(&bytes);
    free(path);
    return status;
}
