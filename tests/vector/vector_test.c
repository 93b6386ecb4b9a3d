#include "tests/support/check.h"
#include "tests/vector/model.h"

static void test_vector_init__accepts_this_machine(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(kd_vector_init(&err), err);
}

static void test_vector_dot__is_near_the_exact_product_for_every_length(void **state)
{
    (void)state;
    uint64_t seed = 7;
    float a[200], b[200];
    for (size_t dim = 1; dim <= 200; dim++) {
        unit_vector(&seed, dim, a);
        unit_vector(&seed, dim, b);
        CHECK_NEAR(model_dot(a, b, dim), kd_dot(a, b, dim), 1e-6);
    }
}

/* The order of addition is a promise: a collection's scores may be compared across machines. */
static void test_vector_dot__adds_in_sixteen_lanes_whatever_the_build(void **state)
{
    (void)state;
    enum { DIM = 53 };
    uint64_t seed = 11;
    float a[DIM + 1], b[DIM + 1];
    unit_vector(&seed, DIM, a + 1); /* not aligned */
    unit_vector(&seed, DIM, b + 1);
    volatile float lane[16] = {0};
    for (size_t i = 0; i < 48; i++) {
        volatile float product = a[1 + i] * b[1 + i];
        lane[i % 16] = lane[i % 16] + product;
    }
    volatile float sum[4];
    for (size_t i = 0; i < 4; i++) {
        volatile float low = lane[i] + lane[4 + i], high = lane[8 + i] + lane[12 + i];
        sum[i] = low + high;
    }
    volatile float rest = 0;
    for (size_t i = 48; i < DIM; i++) {
        volatile float product = a[1 + i] * b[1 + i];
        rest = rest + product;
    }
    volatile float low = sum[0] + sum[1], high = sum[2] + sum[3], all = low + high;
    const float expected = all + rest, actual = kd_dot(a + 1, b + 1, DIM);
    assert_memory_equal(&expected, &actual, sizeof expected);
}

static void test_vector_check__names_what_is_wrong(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    float vector[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    CHECK_OK(kd_vector_check("it", vector, 4, &err), err);
    vector[2] = NAN;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_vector_check("row 9", vector, 4, &err), err);
    CHECK_HAS("value 2 of row 9 is not a finite number", err.message);
    vector[2] = INFINITY;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_vector_check("row 9", vector, 4, &err), err);
    vector[2] = 0.51f;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_vector_check("row 9", vector, 4, &err), err);
    CHECK_HAS("row 9 has length 1.005", err.message);
    memset(vector, 0, sizeof vector);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_vector_check("row 9", vector, 4, &err), err);
    CHECK_HAS("length 0 instead of 1", err.message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_init__accepts_this_machine),
        cmocka_unit_test(test_vector_dot__is_near_the_exact_product_for_every_length),
        cmocka_unit_test(test_vector_dot__adds_in_sixteen_lanes_whatever_the_build),
        cmocka_unit_test(test_vector_check__names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
