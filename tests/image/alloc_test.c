/* Each allocation of lib/image failing in turn, and in image.alloc_libraries also those of the
 * libraries that decode and encode. A photograph must never be called broken, or come out other
 * than it is, for want of memory. */
#include <stdlib.h>
#include <turbojpeg.h>

#include "tests/image/picture.h"
#include "tests/support/alloc.h"

#ifndef KD_ALLOC_LIBRARIES
tjhandle __real_tjInitCompress(void);
tjhandle __wrap_tjInitCompress(void);
tjhandle __wrap_tjInitCompress(void)
{
    return alloc_refuse() ? NULL : __real_tjInitCompress();
}
#endif

/* ---- Decoding ---- */

typedef struct sample {
    kd_buf bytes;
    kd_image image; /* what comes of them */
} sample;

static kd_status decode(const kd_buf *bytes, kd_image *out, kd_error *err)
{
    const kd_status status = kd_image_decode(out, bytes->data, bytes->len, err);
    CHECK((out->pixels == NULL) == (status != KD_OK));
    return status;
}

static kd_status run_decode(void *arg, kd_error *err)
{
    const sample *const s = arg;
    kd_status first = KD_OK;
    kd_image image;
    RUN(&first, decode(&s->bytes, &image, err), err);
    check_same(&s->image, &image);
    kd_image_free(&image);
    return first;
}

/* A format, with and without transparency, and one that is turned: each its own way to pixels. */
static void test_image_alloc__decode(void **state)
{
    static const char *const names[] = {
        "colour.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "turned_6.jpg", "colour.png",
        "grey16.png", "palette_alpha.png", "alpha.png", "turned_8.png", "lossy.webp",
#ifndef KD_ALLOC_LIBRARIES
        /* libwebp 1.2.4 calls a lossless picture (an alpha channel is one) damaged when it has no
         * memory for a Huffman table: nobody outside can tell. */
        "lossless.webp", "alpha.webp", "turned_6.webp"
#endif
    };
    kd_error err = KD_ERROR_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        sample s = {.bytes = read_data(names[i])};
        CHECK_OK(decode(&s.bytes, &s.image, &err), err);
        alloc_replay(&(alloc_scenario){.name = names[i], .run = run_decode, .arg = &s});
        kd_image_free(&s.image);
        kd_buf_free(&s.bytes);
    }
}

/* ---- Encoding ---- */

static kd_status encode(const kd_image *image, bool png, kd_buf *out, kd_error *err)
{
    kd_buf_free(out);
    return png ? kd_image_encode_png(image, out, err) : kd_image_encode_jpeg(image, 90, out, err);
}

static kd_status run_encode(void *arg, kd_error *err)
{
    const kd_image *const image = arg;
    kd_status first = KD_OK;
    kd_buf jpeg = KD_BUF_INIT, png = KD_BUF_INIT;
    RUN(&first, encode(image, false, &jpeg, err), err);
    RUN(&first, encode(image, true, &png, err), err);
    CHECK(jpeg.len > 0 && png.len > 0);
    kd_buf_free(&jpeg);
    kd_buf_free(&png);
    return first;
}

static kd_status thumbnail(const kd_buf *bytes, kd_buf *out, kd_error *err)
{
    kd_buf_free(out);
    return kd_image_thumbnail(bytes->data, bytes->len, 20, out, err);
}

static kd_status run_thumbnail(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_buf out = KD_BUF_INIT;
    RUN(&first, thumbnail(arg, &out, err), err);
    CHECK(out.len > 0);
    kd_buf_free(&out);
    return first;
}

static void test_image_alloc__encode(void **state)
{
    kd_image image = picture(40, 30);
    kd_buf bytes = jpeg_picture(40, 30);
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "encode", .run = run_encode, .arg = &image});
    alloc_replay(&(alloc_scenario){.name = "thumbnail", .run = run_thumbnail, .arg = &bytes});
    kd_image_free(&image);
    kd_buf_free(&bytes);
}

/* ---- Model input, picture rows ---- */

static kd_status run_resize(void *arg, kd_error *err)
{
    static const uint32_t sizes[][2] = {{20, 50}, {40, 17}, {13, 30}, {40, 30}};
    kd_status first = KD_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) { /* both passes, one, none */
        kd_image out = KD_IMAGE_INIT;
        RUN_NEW(
            &first, &out.pixels, kd_image_resize(&out, arg, sizes[i][0], sizes[i][1], err), err);
        CHECK_INT(sizes[i][0], out.width);
        kd_image_free(&out);
    }
    return first;
}

static kd_status run_augment(void *arg, kd_error *err)
{
    const kd_augment augment = {1, 1, 0.2f, 0.3f, 1, 0.4f, 1, 1, 1};
    kd_status first = KD_OK;
    kd_image out = KD_IMAGE_INIT;
    RUN_NEW(&first, &out.pixels, kd_augment_run(&augment, 7, arg, 24, &out, err), err);
    kd_image_free(&out);
    return first;
}

static kd_status run_row(void *arg, kd_error *err)
{
    const kd_image *const image = arg;
    const kd_image cells[3] = {*image, *image, KD_IMAGE_INIT};
    const bool right[3] = {false, true, false};
    kd_status first = KD_OK;
    kd_image out = KD_IMAGE_INIT;
    RUN_NEW(&first, &out.pixels, kd_image_row(&out, cells, right, 3, 16, err), err);
    kd_image_free(&out);
    return first;
}

static void test_image_alloc__resize_augment_row(void **state)
{
    kd_image image = picture(40, 30);
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "resize", .run = run_resize, .arg = &image});
    alloc_replay(&(alloc_scenario){.name = "augment", .run = run_augment, .arg = &image});
    alloc_replay(&(alloc_scenario){.name = "row", .run = run_row, .arg = &image});
    kd_image_free(&image);
}

static kd_status run_preprocess(void *arg, kd_error *err)
{
    enum { SIDE = 24, N = SIDE * SIDE * 3 };
    const kd_buf *const bytes = arg;
    static float input[N];
    kd_preprocess preprocess = KD_PREPROCESS_INIT;
    kd_status first = KD_OK;
    preprocess.image_size = SIDE;
    RUN(&first, kd_preprocess_run(&preprocess, bytes->data, bytes->len, input, err), err);
    return first;
}

static void test_image_alloc__preprocess(void **state)
{
    kd_buf bytes = read_data("turned_6.jpg");
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "preprocess", .run = run_preprocess, .arg = &bytes});
    kd_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_alloc__decode),
        cmocka_unit_test(test_image_alloc__encode),
        cmocka_unit_test(test_image_alloc__resize_augment_row),
        cmocka_unit_test(test_image_alloc__preprocess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
