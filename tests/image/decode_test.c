#include <dirent.h>
#include <stdlib.h>

#include "tests/image/data/golden.h"
#include "tests/image/picture.h"

static void test_image_decode__gives_pillows_pixels(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < sizeof golden_files / sizeof golden_files[0]; i++) {
        const struct golden_file *const g = &golden_files[i];
        kd_buf bytes = read_data(g->name);
        kd_image image;
        CHECK_OK(kd_image_decode(&image, bytes.data, bytes.len, &err), err);
        CHECK_INT(g->width, image.width);
        CHECK_INT(g->height, image.height);
        /* Another libjpeg may round otherwise. */
        const size_t len = (size_t)image.width * image.height * 3;
        for (size_t at = 0, k = 0; at < len; at += GOLDEN_FILE_STEP, k++)
            if (abs(g->samples[k] - image.pixels[at]) > 2)
                fail_msg("%s: byte %zu is %d, Pillow's %d", g->name, at, image.pixels[at],
                    g->samples[k]);
        kd_image_free(&image);
        kd_buf_free(&bytes);
    }
}

static void test_image_decode__reads_what_it_encodes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image from = plain(33, 19, 200, 100, 50), out;
    kd_buf bytes = KD_BUF_INIT;
    CHECK_OK(kd_image_encode_jpeg(&from, 95, &bytes, &err), err);
    CHECK_OK(kd_image_decode(&out, bytes.data, bytes.len, &err), err);
    CHECK_INT(33, out.width);
    CHECK_INT(19, out.height);
    for (size_t i = 0; i < 33 * 19 * 3; i++)
        CHECK_NEAR(from.pixels[i], out.pixels[i], 3.0);
    kd_image_free(&out);
    kd_image_free(&from);
    kd_buf_free(&bytes);
}

/* What the scale is, at the edges of each. */
static void test_image_decode__scales_while_twice_the_size_is_left(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height, side, out_width, out_height;
    } cases[] = {
        {320, 320, 0, 320, 320}, {320, 320, 81, 320, 320},  /* a half would be 160, not 162 */
        {320, 320, 80, 160, 160}, {319, 400, 80, 160, 200}, /* the library rounds up */
        {318, 400, 80, 318, 400}, {320, 90, 40, 320, 90},   /* the shorter side counts */
        {320, 320, 40, 80, 80}, {320, 320, 20, 40, 40},
        {320, 320, 1, 40, 40}, /* an eighth is the least */
    };
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kd_buf bytes = jpeg_picture(cases[i].width, cases[i].height);
        kd_image out;
        CHECK_OK(kd_image_decode_scaled(&out, bytes.data, bytes.len, cases[i].side, &err), err);
        CHECK_INT(cases[i].out_width, out.width);
        CHECK_INT(cases[i].out_height, out.height);
        kd_image_free(&out);
        kd_buf_free(&bytes);
    }
    kd_buf png = read_data("colour.png");
    kd_image out;
    CHECK_OK(kd_image_decode_scaled(&out, png.data, png.len, 1, &err), err);
    CHECK_INT(37, out.width); /* only JPEG has it */
    kd_image_free(&out);
    kd_buf_free(&png);
}

static void test_image_decode__names_what_it_does_not_read(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image out;
    static const struct {
        const char *bytes;
        size_t len;
        const char *sentence;
    } cases[] = {
        {"", 0, "empty"},
        {"\xff", 1, "not a JPEG"},
        {"hello, world", 12, "not a JPEG"},
        {"RIFF....WEBPVP8 ", 16, "WebP image's header is broken"},
        {"\x89PNG\r\n\x1a\n", 8, "the PNG image is broken"},
        {"....ftypheic", 12, "HEIC"},
        {"GIF89a", 6, "a GIF"},
        {"\xff\xd8\xff", 3, "broken"},
        {"\xff\xd8\xff\xd9", 4, "broken"},
        {"\x89PNG\r\n\x1a\n\x7f\xff\xff\xf0"
         "eXIfMM",
            22, "longer than the file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_FAILS(
            KD_INVALID_ARGUMENT, kd_image_decode(&out, cases[i].bytes, cases[i].len, &err), err);
        CHECK_HAS(cases[i].sentence, err.message);
        CHECK(out.pixels == NULL);
    }
}

static void test_image_decode__tells_the_format_by_content(void **state)
{
    (void)state;
    CHECK_INT(KD_IMAGE_JPEG, kd_image_format_of("\xff\xd8\xff", 3));
    CHECK_INT(KD_IMAGE_OTHER, kd_image_format_of("\xff\xd8", 2));
    CHECK_INT(KD_IMAGE_PNG, kd_image_format_of("\x89PNG\r\n\x1a\n", 8));
    CHECK_INT(KD_IMAGE_WEBP, kd_image_format_of("RIFF....WEBP", 12));
    CHECK_INT(KD_IMAGE_OTHER, kd_image_format_of("GIF89a", 6));
    CHECK_INT(KD_IMAGE_OTHER, kd_image_format_of("", 0));
}

/* One file of each kind that is decoded its own way. */
static const char *const kinds[] = {"colour.jpg", "progressive.jpg", "turned_6.jpg", "cmyk.jpg",
    "colour.png", "palette_alpha.png", "alpha.png", "turned_8.png", "lossless.webp", "lossy.webp",
    "alpha.webp", "turned_6.webp"};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static void test_image_decode__refuses_a_truncated_image(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < N_KINDS; i++) {
        kd_buf bytes = read_data(kinds[i]);
        /* The PNG's end mark and the EXIF block behind a WebP's picture may be missed. */
        const size_t last = strstr(kinds[i], ".jpg") ? bytes.len - 2 : bytes.len * 3 / 4;
        for (size_t tenth = 0; tenth <= 10; tenth++) {
            const size_t len = last * tenth / 10;
            /* A block of its own, so that a read past the end shows. */
            uint8_t *const cut = malloc(len + 1);
            kd_image out;
            assert_non_null(cut);
            memcpy(cut, bytes.data, len);
            CHECK_FAILS(KD_INVALID_ARGUMENT, kd_image_decode(&out, cut, len, &err), err);
            CHECK(out.pixels == NULL);
            free(cut);
        }
        CHECK_HAS("broken", err.message);
        kd_buf_free(&bytes);
    }
}

static void test_image_decode__survives_damage_anywhere(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < N_KINDS; i++) {
        kd_buf bytes = read_data(kinds[i]);
        size_t refused = 0;
        for (size_t at = 0; at < bytes.len; at++) {
            const uint8_t keep = bytes.data[at];
            bytes.data[at] = (uint8_t)(keep ^ (0x55 + at % 7));
            kd_image out;
            const kd_status status = kd_image_decode(&out, bytes.data, bytes.len, &err);
            CHECK(status == KD_OK || status == KD_INVALID_ARGUMENT ||
                  status == KD_RESOURCE_EXHAUSTED);
            CHECK((status == KD_OK) == (out.pixels != NULL));
            refused += status != KD_OK;
            kd_image_free(&out);
            bytes.data[at] = keep;
        }
        CHECK(refused > 0);
        kd_buf_free(&bytes);
    }
}

/* Writes a size into the header of a baseline JPEG. */
static void set_header_size(kd_buf *bytes, uint32_t width, uint32_t height)
{
    uint8_t *const sof = memmem(bytes->data, bytes->len, "\xff\xc0", 2);
    assert_non_null(sof);
    sof[5] = (uint8_t)(height >> 8);
    sof[6] = (uint8_t)height;
    sof[7] = (uint8_t)(width >> 8);
    sof[8] = (uint8_t)width;
}

static void test_image_decode__checks_limits_from_the_header(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_buf bytes = jpeg_picture(32, 32);
    kd_image out;

    set_header_size(&bytes, 65000, 65000);
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, kd_image_decode(&out, bytes.data, bytes.len, &err), err);
    CHECK_HAS("65000 x 65000", err.message);
    CHECK_HAS("side", err.message);
    set_header_size(&bytes, 16000, 16000);
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, kd_image_decode(&out, bytes.data, bytes.len, &err), err);
    CHECK_HAS("area", err.message);
    set_header_size(&bytes, 0, 32);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_image_decode(&out, bytes.data, bytes.len, &err), err);
    kd_buf_free(&bytes);

    const size_t len = KD_IMAGE_MAX_BYTES + 1u;
    uint8_t *const heavy = calloc(len, 1);
    assert_non_null(heavy);
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, kd_image_decode(&out, heavy, len, &err), err);
    CHECK_HAS("33554433 bytes", err.message);
    free(heavy);
}

/* tools/golden/broken_images.py draws them; a name begins with what is expected. */
static void test_image_decode__says_what_is_wrong_with_each_broken_file(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    size_t seen = 0;
    DIR *const folder = opendir(KD_SOURCE_DIR "/tests/image/data/broken");
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *const name = entry->d_name;
        char path[300];
        if (name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "broken/%s", name);
        kd_buf bytes = read_data(path);
        kd_image out;
        err = (kd_error)KD_ERROR_INIT;
        const kd_status status = kd_image_decode(&out, bytes.data, bytes.len, &err);
        const kd_status expected = strncmp(name, "read-", 5) == 0    ? KD_OK
                                   : strncmp(name, "limit-", 6) == 0 ? KD_RESOURCE_EXHAUSTED
                                                                     : KD_INVALID_ARGUMENT;
        if (status != expected)
            fail_msg("%s: %s (%s)", name, kd_status_name(status), err.message);
        CHECK((status == KD_OK) == (out.pixels != NULL));
        if (status != KD_OK && strlen(err.message) < 12)
            fail_msg("%s: '%s' says too little", name, err.message);
        kd_image_free(&out);
        kd_buf_free(&bytes);
        seen++;
    }
    (void)closedir(folder);
    CHECK(seen >= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_decode__gives_pillows_pixels),
        cmocka_unit_test(test_image_decode__reads_what_it_encodes),
        cmocka_unit_test(test_image_decode__scales_while_twice_the_size_is_left),
        cmocka_unit_test(test_image_decode__names_what_it_does_not_read),
        cmocka_unit_test(test_image_decode__tells_the_format_by_content),
        cmocka_unit_test(test_image_decode__says_what_is_wrong_with_each_broken_file),
        cmocka_unit_test(test_image_decode__refuses_a_truncated_image),
        cmocka_unit_test(test_image_decode__survives_damage_anywhere),
        cmocka_unit_test(test_image_decode__checks_limits_from_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
