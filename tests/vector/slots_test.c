#include "lib/vector/slots.h"
#include "tests/support/check.h"
#include "tests/vector/model.h"

static void test_slots_table__agrees_with_an_array_over_random_changes(void **state)
{
    (void)state;
    enum { IDS = 500, STEPS = 20000 };
    uint32_t model[IDS];
    memset(model, 0xff, sizeof model);
    kd_error err = KD_ERROR_INIT;
    kd_slots table = {0};
    uint64_t seed = 3;
    size_t n = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        const size_t at = next_random(&seed) % IDS;
        const uint64_t id = at * 0x100000001u; /* sparse ids */
        if (next_random(&seed) % 2) {
            CHECK_OK(kd_slots_reserve(&table, 1, &err), err);
            kd_slots_put(&table, id, step);
            n += model[at] == KD_SLOT_NONE;
            model[at] = step;
        } else {
            CHECK_INT(model[at], kd_slots_take(&table, id));
            n -= model[at] != KD_SLOT_NONE;
            model[at] = KD_SLOT_NONE;
        }
        CHECK_INT(n, table.n);
        const size_t other = next_random(&seed) % IDS;
        CHECK_INT(model[other], kd_slots_get(&table, other * 0x100000001u));
    }
    for (size_t i = 0; i < IDS; i++)
        CHECK_INT(model[i], kd_slots_get(&table, i * 0x100000001u));
    kd_slots_free(&table);
}

static void test_slots_table__is_empty_before_the_first_reserve(void **state)
{
    (void)state;
    kd_slots table = {0};
    CHECK_INT(KD_SLOT_NONE, kd_slots_get(&table, 1));
    CHECK_INT(KD_SLOT_NONE, kd_slots_take(&table, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_table__agrees_with_an_array_over_random_changes),
        cmocka_unit_test(test_slots_table__is_empty_before_the_first_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
