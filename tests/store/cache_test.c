/* The embedding cache. */
#include "lib/base/clock.h"
#include "tests/store/room.h"

enum { DIM = 512, N = 64 };

typedef struct batch {
    uint8_t keys[N][KD_SHA256_BYTES];
    float vectors[N][DIM];
    float got[N][DIM];
    bool found[N];
} batch;

/* True when both have the same bits, which is more than equal numbers. */
static bool same_bits(const void *a, const void *b, size_t len)
{
    return memcmp(a, b, len) == 0;
}

static batch *make_batch(void)
{
    batch *const b = calloc(1, sizeof *b);
    if (!b)
        abort();
    for (int i = 0; i < N; i++) {
        memset(b->keys[i], i, KD_SHA256_BYTES);
        for (int j = 0; j < DIM; j++)
            b->vectors[i][j] = (float)(i * DIM + j) / 7.0f;
    }
    return b;
}

static void test_store_cache__hits_come_back_bit_for_bit_and_misses_are_marked(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    CHECK_OK(
        put_rows(r->a, KD_CACHE_FLOAT32, "m1", N / 2, b->keys, DIM, b->vectors[0], 60, &r->err),
        r->err);
    memset(b->got, 0xab, sizeof b->got);
    CHECK_OK(get_rows(r->b, KD_CACHE_FLOAT32, "m1", N, b->keys, DIM, b->got[0], b->found, &r->err),
        r->err);
    for (int i = 0; i < N; i++) {
        CHECK_INT(i < N / 2, b->found[i]);
        if (b->found[i])
            CHECK(same_bits(b->got[i], b->vectors[i], sizeof b->got[i]));
        else
            CHECK_INT(0xab, ((const uint8_t *)b->got[i])[0]); /* left alone */
    }
    free(b);
}

static void test_store_cache__another_model_misses(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    CHECK_OK(put_rows(r->a, KD_CACHE_FLOAT32, "m1", 1, b->keys, DIM, b->vectors[0], 60, &r->err),
        r->err);
    CHECK_OK(get_rows(r->a, KD_CACHE_FLOAT32, "m2", 1, b->keys, DIM, b->got[0], b->found, &r->err),
        r->err);
    CHECK(!b->found[0]);
    free(b);
}

/* As an embedder asks that serves several. */
static void test_store_cache__one_trip_takes_entries_of_several_models(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    kd_cache_entry entries[] = {{"m1", b->keys[0], b->vectors[0], DIM, false},
        {"m2", b->keys[0], b->vectors[1], 7, false}, {"m1", b->keys[1], b->vectors[2], DIM, false}};
    CHECK_OK(kd_cache_put(r->a, KD_CACHE_FLOAT32, entries, 2, 60, &r->err), r->err);
    for (int i = 0; i < 3; i++)
        entries[i].values = b->got[i];
    CHECK_OK(kd_cache_get(r->b, KD_CACHE_FLOAT32, entries, 3, &r->err), r->err);
    CHECK(entries[0].found && entries[1].found && !entries[2].found);
    CHECK(same_bits(b->got[0], b->vectors[0], sizeof b->got[0]));
    CHECK(same_bits(b->got[1], b->vectors[1], 7 * sizeof b->got[1][0]));
    CHECK(b->got[1][7] == 0);
    free(b);
}

static void test_store_cache__float16_takes_half_and_is_close(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    for (int i = 0; i < N; i++)
        for (int j = 0; j < DIM; j++)
            b->vectors[i][j] = (float)((i * 31 + j * 17) % 200 - 100) / 100;
    CHECK_OK(
        put_rows(r->a, KD_CACHE_FLOAT16, "m", N, b->keys, DIM, b->vectors[0], 60, &r->err), r->err);
    CHECK_OK(get_rows(r->b, KD_CACHE_FLOAT16, "m", N, b->keys, DIM, b->got[0], b->found, &r->err),
        r->err);
    for (int i = 0; i < N; i++) {
        CHECK(b->found[i]);
        for (int j = 0; j < DIM; j++)
            CHECK_NEAR((double)b->vectors[i][j], (double)b->got[i][j], 0.00025);
    }
    redisReply *const keys = room_redis(r, "KEYS kindred:emb16:m:*");
    CHECK_INT(N, keys->elements);
    char command[160];
    (void)snprintf(command, sizeof command, "STRLEN %s", keys->element[0]->str);
    freeReplyObject(keys);
    CHECK_INT(2 * DIM, room_number(r, command));
    free(b);
}

/* Also where the lengths agree: 2 × DIM halves and DIM floats. */
static void test_store_cache__the_two_forms_never_meet(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    CHECK_OK(
        put_rows(r->a, KD_CACHE_FLOAT16, "m", 1, b->keys, DIM, b->vectors[0], 60, &r->err), r->err);
    CHECK_OK(put_rows(r->a, KD_CACHE_FLOAT32, "m", 1, b->keys + 1, DIM, b->vectors[1], 60, &r->err),
        r->err);
    CHECK_OK(
        get_rows(r->a, KD_CACHE_FLOAT32, "m", 2, b->keys, DIM / 2, b->got[0], b->found, &r->err),
        r->err);
    CHECK(!b->found[0] && !b->found[1]);
    CHECK_OK(get_rows(r->a, KD_CACHE_FLOAT32, "m", 2, b->keys, DIM, b->got[0], b->found, &r->err),
        r->err);
    CHECK(!b->found[0] && b->found[1]);
    CHECK_OK(get_rows(r->a, KD_CACHE_FLOAT16, "m", 2, b->keys, DIM, b->got[0], b->found, &r->err),
        r->err);
    CHECK(b->found[0] && !b->found[1]);
    free(b);
}

static void test_store_cache__a_value_of_another_length_is_a_miss(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    CHECK_OK(put_rows(r->a, KD_CACHE_FLOAT32, "m", 1, b->keys, DIM / 2, b->vectors[0], 60, &r->err),
        r->err);
    CHECK_OK(get_rows(r->a, KD_CACHE_FLOAT32, "m", 1, b->keys, DIM, b->got[0], b->found, &r->err),
        r->err);
    CHECK(!b->found[0]);
    free(b);
}

static void test_store_cache__entries_expire(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    CHECK_OK(
        put_rows(r->a, KD_CACHE_FLOAT32, "m", 2, b->keys, DIM, b->vectors[0], 1, &r->err), r->err);
    CHECK_INT(2, room_number(r, "DBSIZE"));
    b->found[0] = true;
    for (const int64_t until = kd_mono_ms() + 10000; b->found[0] && kd_mono_ms() < until;)
        CHECK_OK(
            get_rows(r->a, KD_CACHE_FLOAT32, "m", 1, b->keys, DIM, b->got[0], b->found, &r->err),
            r->err);
    CHECK(!b->found[0]);
    free(b);
}

static void test_store_cache__every_entry_carries_an_expiry(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    CHECK_OK(put_rows(r->a, KD_CACHE_FLOAT32, "m", 1, b->keys, DIM, b->vectors[0], 100, &r->err),
        r->err);
    redisReply *const keys = room_redis(r, "KEYS kindred:emb:m:*");
    CHECK_INT(1, keys->elements);
    char command[160];
    (void)snprintf(command, sizeof command, "TTL %s", keys->element[0]->str);
    freeReplyObject(keys);
    const long long ttl = room_number(r, command);
    CHECK(ttl > 0 && ttl <= 100);
    /* Without a lifetime nothing is kept. */
    CHECK_OK(
        put_rows(r->a, KD_CACHE_FLOAT32, "z", 1, b->keys, DIM, b->vectors[0], 0, &r->err), r->err);
    CHECK_INT(1, room_number(r, "DBSIZE"));
    free(b);
}

static void test_store_cache__a_full_redis_refuses_and_the_connection_goes_on(void **state)
{
    room *const r = *state;
    batch *const b = make_batch();
    freeReplyObject(room_redis(r, "CONFIG SET maxmemory 1"));
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED,
        put_rows(r->a, KD_CACHE_FLOAT32, "m", N, b->keys, DIM, b->vectors[0], 60, &r->err), r->err);
    freeReplyObject(room_redis(r, "CONFIG SET maxmemory 0"));
    CHECK_OK(kd_store_ping(r->a, &r->err), r->err);
    kd_store_facts facts;
    CHECK_OK(kd_store_describe(r->a, &facts, &r->err), r->err);
    CHECK(facts.version[0] >= '0' && facts.version[0] <= '9' && strchr(facts.version, '.'));
    CHECK(facts.used_bytes > 100000 && facts.uptime_s >= 0);
    CHECK_OK(
        put_rows(r->a, KD_CACHE_FLOAT32, "m", N, b->keys, DIM, b->vectors[0], 60, &r->err), r->err);
    CHECK_OK(get_rows(r->a, KD_CACHE_FLOAT32, "m", N, b->keys, DIM, b->got[0], b->found, &r->err),
        r->err);
    CHECK(b->found[N - 1]);
    free(b);
}

/* Many times what a socket buffers in either direction. */
static void test_store_cache__a_large_batch_neither_stalls_nor_mixes_rows(void **state)
{
    room *const r = *state;
    enum { MANY = 4000 };
    uint8_t(*const keys)[KD_SHA256_BYTES] = calloc(MANY, sizeof *keys);
    float *const vectors = calloc((size_t)MANY * DIM, sizeof *vectors);
    float *const got = calloc((size_t)MANY * DIM, sizeof *got);
    bool *const found = calloc(MANY, sizeof *found);
    if (!keys || !vectors || !got || !found)
        abort();
    for (int i = 0; i < MANY; i++) {
        memcpy(keys[i], &i, sizeof i);
        for (int j = 0; j < DIM; j++)
            vectors[(size_t)i * DIM + (size_t)j] = (float)(i + j);
    }
    CHECK_OK(put_rows(r->a, KD_CACHE_FLOAT32, "m", MANY, keys, DIM, vectors, 60, &r->err), r->err);
    CHECK_OK(get_rows(r->a, KD_CACHE_FLOAT32, "m", MANY, keys, DIM, got, found, &r->err), r->err);
    for (int i = 0; i < MANY; i++)
        CHECK(found[i]);
    CHECK(same_bits(vectors, got, sizeof *got * MANY * DIM));
    free(keys);
    free(vectors);
    free(got);
    free(found);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, room_setup, room_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_store_cache__hits_come_back_bit_for_bit_and_misses_are_marked),
        TEST(test_store_cache__another_model_misses),
        TEST(test_store_cache__one_trip_takes_entries_of_several_models),
        TEST(test_store_cache__float16_takes_half_and_is_close),
        TEST(test_store_cache__the_two_forms_never_meet),
        TEST(test_store_cache__a_value_of_another_length_is_a_miss),
        TEST(test_store_cache__entries_expire),
        TEST(test_store_cache__every_entry_carries_an_expiry),
        TEST(test_store_cache__a_full_redis_refuses_and_the_connection_goes_on),
        TEST(test_store_cache__a_large_batch_neither_stalls_nor_mixes_rows),
    };
    return cmocka_run_group_tests_name("store.cache", tests, room_start, room_stop);
}
