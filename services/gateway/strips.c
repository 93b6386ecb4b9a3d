/* Strips: each picture row as a file beside the report, a PNG to keep or to send. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "services/gateway/evaluate.h"

/* The page's picture; none where the page has none. */
static kd_status decode(const char *uri, kd_image *out, kd_error *err)
{
    static const char head[] = PICTURE_HEAD;
    const size_t start = strlen(head);
    if (!uri || strncmp(uri, head, start) != 0)
        return KD_OK;
    const char *const text = uri + start;
    const size_t len = strlen(text);
    kd_buf jpeg = KD_BUF_INIT;
    uint8_t *const at = kd_buf_reserve(&jpeg, len / 4 * 3 + 1);
    if (!at)
        return kd_error_memory(err, "a picture");
    const int n = EVP_DecodeBlock(at, (const unsigned char *)text, (int)len);
    if (n > 0) /* it counts what only fills the last block */
        jpeg.len = (size_t)n - (text[len - 1] == '=') - (text[len - 2] == '=');
    const kd_status status = kd_image_decode(out, jpeg.data, jpeg.len, err);
    kd_buf_free(&jpeg);
    return status;
}

static kd_status draw(const kd_report_row *row, uint32_t side, kd_buf *png, kd_error *err)
{
    kd_image cells[1 + ROW_HITS] = {KD_IMAGE_INIT}, strip = KD_IMAGE_INIT;
    bool right[1 + ROW_HITS] = {false};
    kd_status status = decode(row->query.picture, &cells[0], err);
    for (size_t i = 0; status == KD_OK && i < row->n_hits; i++) {
        right[1 + i] = row->hits[i].right > 0;
        status = decode(row->hits[i].picture, &cells[1 + i], err);
    }
    if (status == KD_OK)
        status = kd_image_row(&strip, cells, right, 1 + row->n_hits, side, err);
    if (status == KD_OK)
        status = kd_image_encode_png(&strip, png, err);
    kd_image_free(&strip);
    for (size_t i = 0; i < 1 + ROW_HITS; i++)
        kd_image_free(&cells[i]);
    return status;
}

static kd_status write_strip(
    const char *dir, const char *name, kd_report_row *row, uint32_t side, kd_error *err)
{
    kd_buf png = KD_BUF_INIT;
    char *const path = kd_format("%s/%s", dir, name);
    kd_status status = path ? draw(row, side, &png, err) : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = kd_file_write(path, png.data, png.len, err);
    if (status == KD_OK && !(row->strip = strdup(name)))
        status = kd_error_memory(err, "a strip's name");
    kd_buf_free(&png);
    free(path);
    return status;
}

kd_status strips_begin(const char *dir, kd_error *err)
{
    char *const rows = kd_format("%s/rows", dir);
    kd_status status = rows ? kd_remove_tree(rows, err) : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = kd_make_dirs(rows, err);
    free(rows);
    return status;
}

void strips_drop(const char *dir)
{
    kd_error ignored; /* why they go is the error that counts */
    char *const rows = kd_format("%s/rows", dir);
    if (rows)
        (void)!kd_remove_tree(rows, &ignored);
    free(rows);
}

kd_status strips_write(running_job *r, const char *dir, const protocol *p, const measured *of,
    size_t model, const shown *s, kd_error *err)
{
    kd_status status = KD_OK;
    for (size_t i = 0; status == KD_OK && i < s->n; i++) {
        kd_report_row *const row = &of->rows[i];
        char name[STRIP_NAME];
        if (!row->query.path) /* this model could not embed it */
            continue;
        strip_name(name, p->name, model, of->label, i + 1, row->query.super_class_name,
            row->query.class_name);
        status = write_strip(dir, name, row, s->side, err);
        if (status == KD_OK)
            status = job_step(r, err);
    }
    return status;
}
