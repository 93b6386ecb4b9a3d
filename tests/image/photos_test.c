/* Real photographs: the grocery set, where it lies beside the checkout. */
#include <stdlib.h>

#include "tests/image/picture.h"

#define GROCERY KD_SOURCE_DIR "/../shared/datasets/grocery/"
#define EVERY 25 /* lines of the listing */

static void check_photograph(const char *path)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf bytes = KD_BUF_INIT;
    kd_image image, square;
    CHECK_OK(kd_file_read(path, KD_IMAGE_MAX_BYTES, &bytes, &err), err);
    CHECK_OK(kd_image_decode(&image, bytes.data, bytes.len, &err), err);
    CHECK(image.width >= 100 && image.height >= 100);
    CHECK_OK(kd_image_resize(&square, &image, 224, 224, &err), err);

    /* A photograph and not a plain area. */
    int least = 255, most = 0;
    for (size_t i = 0; i < 224 * 224 * 3; i++) {
        least = square.pixels[i] < least ? square.pixels[i] : least;
        most = square.pixels[i] > most ? square.pixels[i] : most;
    }
    CHECK(most - least > 50);
    kd_image_free(&square);
    kd_image_free(&image);
    kd_buf_free(&bytes);
}

static void test_image_photos__decode_and_resize(void **state)
{
    (void)state;
    FILE *const listing = fopen(GROCERY "Ebay_test.txt", "r");
    if (!listing) {
        skip();
        return;
    }
    char line[512], path[1024], name[256];
    size_t n = 0, seen = 0;
    while (fgets(line, sizeof line, listing)) {
        if (n++ % EVERY == 1 && sscanf(line, "%*s %*s %*s %255s", name) == 1) {
            (void)snprintf(path, sizeof path, "%s%s", GROCERY, name);
            check_photograph(path);
            seen++;
        }
    }
    (void)fclose(listing);
    CHECK(seen >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_photos__decode_and_resize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
