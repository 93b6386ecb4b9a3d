/* float16 as bytes, against the compiler's own where it has one. */
#include <math.h>
#include <string.h>

#include "lib/base/half.h"
#include "tests/support/check.h"

static uint16_t packed(float value)
{
    uint8_t bytes[2];
    kd_half_pack(&value, 1, bytes);
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static float unpacked(uint16_t half)
{
    const uint8_t bytes[2] = {(uint8_t)(half & 0xff), (uint8_t)(half >> 8)};
    float value;
    kd_half_unpack(bytes, 1, &value);
    return value;
}

static void test_base_half__known_values(void **state)
{
    static const struct {
        float value;
        uint16_t half;
    } known[] = {{0.0f, 0}, {-0.0f, 0x8000}, {1.0f, 0x3c00}, {-2.0f, 0xc000}, {0.1f, 0x2e66},
        {65504.0f, 0x7bff}, {65519.996f, 0x7bff}, {65520.0f, 0x7c00}, {1e30f, 0x7c00},
        {-INFINITY, 0xfc00}, {0x1p-14f, 0x0400}, {0x1p-24f, 0x0001}, {0x1p-25f, 0},
        {0x1.8p-25f, 0x0001}, {0x1p-149f, 0}, {0x1.ffcp-15f, 0x0400},
        {1.0f + 0x1p-11f, 0x3c00},                             /* a tie, to even */
        {1.0f + 0x1.8p-10f, 0x3c02}, {0x1.002002p0f, 0x3c01}}; /* tie, and above one */
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        CHECK_INT(known[i].half, packed(known[i].value));
}

static void test_base_half__every_half_comes_back(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        const float value = unpacked((uint16_t)half);
        if (isnan(value))
            CHECK(isnan(unpacked(packed(value))));
        else
            CHECK_INT(half, packed(value));
    }
}

static void test_base_half__rounds_to_the_nearest(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x7bff; half++) {
        const float low = unpacked((uint16_t)half), high = unpacked((uint16_t)(half + 1));
        const float middle = low + (high - low) / 2; /* exact in float */
        CHECK_INT((half + 1) & ~1u, packed(middle)); /* to the even one */
        CHECK_INT(half, packed(nextafterf(middle, 0)));
        CHECK_INT(half + 1, packed(nextafterf(middle, INFINITY)));
    }
}

static void test_base_half__of_a_unit_vector_is_close(void **state)
{
    float values[512], back[512];
    uint8_t bytes[1024];
    (void)state;
    for (size_t i = 0; i < 512; i++)
        values[i] = sinf((float)i) / sqrtf(256.0f);
    kd_half_pack(values, 512, bytes);
    kd_half_unpack(bytes, 512, back);
    for (size_t i = 0; i < 512; i++)
        CHECK_NEAR((double)values[i], (double)back[i], 0.00025);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_half__known_values),
        cmocka_unit_test(test_base_half__every_half_comes_back),
        cmocka_unit_test(test_base_half__rounds_to_the_nearest),
        cmocka_unit_test(test_base_half__of_a_unit_vector_is_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
