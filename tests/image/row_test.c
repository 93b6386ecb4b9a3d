#include <png.h>
#include <stdlib.h>

#include "tests/image/picture.h"

static void test_image_row__frames_say_right_and_wrong(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image cells[4] = {plain(30, 30, 1, 2, 3), plain(64, 20, 10, 20, 30), plain(5, 9, 7, 8, 9),
        KD_IMAGE_INIT /* a file that is gone */};
    const bool right[4] = {false, true, false, true};
    kd_image row;
    CHECK_OK(kd_image_row(&row, cells, right, 4, 40, &err), err);

    /* Gap 8, frame 5, cell 40. */
    const uint32_t step = 8 + 5 + 40 + 5;
    CHECK_INT(4 * step + 8, row.width);
    CHECK_INT(step + 8, row.height);
    static const uint32_t frames[4] = {0x888888, 0x2e9e4f, 0xdd3333, 0x2e9e4f};
    static const uint32_t inside[4] = {0x010203, 0x0a141e, 0x070809, 0xeeeeee};
    /* Where the pictures begin in their cells: 40 × 40, 40 × 13, 22 × 40, none. */
    static const uint32_t at[4][2] = {{0, 0}, {0, 13}, {9, 0}, {0, 0}};
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t left = i * step;
        CHECK_INT(0xffffff, pixel_at(&row, left + 7, 30));
        CHECK_INT(frames[i], pixel_at(&row, left + 8, 8));
        CHECK_INT(frames[i], pixel_at(&row, left + 12, 30));
        CHECK_INT(inside[i], pixel_at(&row, left + 13 + at[i][0], 13 + at[i][1]));
        CHECK_INT(inside[i], pixel_at(&row, left + 32, 32));
        if (at[i][0] + at[i][1] > 0) {
            CHECK_INT(0xeeeeee, pixel_at(&row, left + 13, 13));
            CHECK_INT(0xeeeeee, pixel_at(&row, left + 52, 52));
        } else {
            CHECK_INT(inside[i], pixel_at(&row, left + 52, 52));
        }
        CHECK_INT(frames[i], pixel_at(&row, left + 53, 53));
        CHECK_INT(frames[i], pixel_at(&row, left + 57, 57));
        CHECK_INT(0xffffff, pixel_at(&row, left + 58, 30));
    }
    CHECK_INT(0xffffff, pixel_at(&row, 20, 7));
    CHECK_INT(0xffffff, pixel_at(&row, 20, row.height - 1));
    kd_image_free(&row);
    for (size_t i = 0; i < 4; i++)
        kd_image_free(&cells[i]);
}

static void test_image_row__refuses_what_is_too_wide(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image cells[2] = {plain(4, 4, 0, 0, 0), plain(4, 4, 0, 0, 0)}, row;
    const bool right[2] = {false, true};
    CHECK_FAILS(
        KD_RESOURCE_EXHAUSTED, kd_image_row(&row, cells, right, 2, KD_IMAGE_MAX_SIDE, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_image_row(&row, cells, right, 2, 0, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_image_row(&row, cells, right, 2, UINT32_MAX, &err), err);
    CHECK(row.pixels == NULL);
    kd_image_free(&cells[0]);
    kd_image_free(&cells[1]);
}

static void check_thumbnail(
    uint32_t width, uint32_t height, uint32_t side, uint32_t to_width, uint32_t to_height)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf bytes = jpeg_picture(width, height), small = KD_BUF_INIT;
    kd_image image;
    CHECK_OK(kd_image_thumbnail(bytes.data, bytes.len, side, &small, &err), err);
    CHECK_OK(kd_image_decode(&image, small.data, small.len, &err), err);
    CHECK_INT(to_width, image.width);
    CHECK_INT(to_height, image.height);
    kd_image_free(&image);
    kd_buf_free(&small);
    kd_buf_free(&bytes);
}

static void test_image_thumbnail__keeps_the_aspect_and_never_grows(void **state)
{
    (void)state;
    check_thumbnail(300, 100, 60, 60, 20);
    check_thumbnail(100, 300, 60, 20, 60);
    check_thumbnail(50, 40, 60, 50, 40);
    check_thumbnail(400, 1, 40, 40, 1);

    kd_error err = KD_ERROR_INIT;
    kd_buf out = KD_BUF_INIT;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_image_thumbnail("no", 2, 60, &out, &err), err);
    CHECK_INT(0, out.len);
}

static void test_image_encode_png__keeps_every_pixel(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image image = picture(37, 23), back;
    kd_buf bytes = KD_BUF_INIT;
    kd_buf_puts(&bytes, "before");
    CHECK_OK(kd_image_encode_png(&image, &bytes, &err), err);
    assert_memory_equal("before", bytes.data, 6);

    png_image png = {.version = PNG_IMAGE_VERSION};
    CHECK(png_image_begin_read_from_memory(&png, bytes.data + 6, bytes.len - 6));
    png.format = PNG_FORMAT_RGB;
    CHECK_OK(kd_image_new(&back, png.width, png.height, &err), err);
    CHECK(png_image_finish_read(&png, NULL, back.pixels, 0, NULL));
    check_same(&image, &back);
    kd_image_free(&back);
    kd_image_free(&image);
    kd_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_row__frames_say_right_and_wrong),
        cmocka_unit_test(test_image_row__refuses_what_is_too_wide),
        cmocka_unit_test(test_image_thumbnail__keeps_the_aspect_and_never_grows),
        cmocka_unit_test(test_image_encode_png__keeps_every_pixel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
