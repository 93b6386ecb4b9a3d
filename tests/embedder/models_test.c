/* The models in memory: who waits, who goes, who stays. */
#include <pthread.h>

#include "lib/base/clock.h"
#include "services/embedder/models.h"
#include "tests/models/room.h"

enum { A, B, C, MODELS };

static kd_model g_models[MODELS]; /* published under their letters */
static model_set *g_table;
static kd_metrics *g_metrics;

/* ---- The room ---- */

static void publish_net(room *r, const char *name, uint64_t seed, kd_model *out)
{
    kd_net *net = NULL;
    bool existed;
    CHECK_OK(kd_net_new(&net, seed, &r->err), r->err);
    CHECK_OK(kd_net_save(net, r->weights, &r->err), r->err);
    kd_net_free(net);
    *out = describe(name);
    out->preprocess.image_size = KD_NN_MIN_IMAGE_SIZE;
    CHECK_OK(kd_models_publish(r->dir, r->weights, out, &existed, &r->err), r->err);
}

static int start(void **state)
{
    const char *const names[] = {"a", "b", "c"};
    kd_nn_set_threads(1);
    if (setup(state) != 0)
        return -1;
    for (int i = 0; i < MODELS; i++)
        publish_net(*state, names[i], (uint64_t)i + 1, &g_models[i]);
    return 0;
}

/* What a model takes is told by the table itself. */
static double model_bytes(void)
{
    return kd_gauge_value(kd_metrics_gauge(g_metrics, "kindred_embed_model_bytes", "", ""));
}

static uint64_t counted(const char *name)
{
    return kd_counter_value(kd_metrics_counter(g_metrics, name, "", ""));
}

static void begin(room *r, uint64_t memory)
{
    CHECK_OK(kd_metrics_new(&g_metrics, &r->err), r->err);
    CHECK_OK(model_set_new(&g_table,
                 &(model_set_options){
                     .dir = r->dir, .memory = memory, .max_batch = 1, .metrics = g_metrics},
                 &r->err),
        r->err);
}

static int end(void **state)
{
    (void)state;
    model_set_free(g_table);
    kd_metrics_free(g_metrics);
    g_table = NULL;
    g_metrics = NULL;
    return 0;
}

/* ---- Who waits ---- */

typedef struct waiter {
    model_wait wait;
    pthread_mutex_t mutex;
    pthread_cond_t told;
    bool done;
    served_model *model;
    kd_error why;
} waiter;

static void on_done(model_wait *wait, served_model *model, const kd_error *why)
{
    waiter *const w = wait->arg;
    pthread_mutex_lock(&w->mutex);
    w->model = model;
    w->why = *why;
    w->done = true;
    pthread_cond_signal(&w->told);
    pthread_mutex_unlock(&w->mutex);
}

/* Asks; what is there is told at once. */
static waiter *ask(const kd_model *model)
{
    waiter *const w = calloc(1, sizeof *w);
    kd_error err = KD_ERROR_INIT;
    if (!w)
        abort();
    w->wait.done = on_done;
    w->wait.arg = w;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->told, NULL);
    served_model *served = NULL;
    const kd_status status = model_set_use(g_table, model, &w->wait, &served, &err);
    if (status != KD_OK || served)
        on_done(&w->wait, served, &err);
    return w;
}

static bool is_done(waiter *w)
{
    pthread_mutex_lock(&w->mutex);
    const bool done = w->done;
    pthread_mutex_unlock(&w->mutex);
    return done;
}

/* The model, which the caller uses, or NULL and why. */
static served_model *told(waiter *w, kd_error *why)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->done)
        pthread_cond_wait(&w->told, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    served_model *const model = w->model;
    if (why)
        *why = w->why;
    pthread_cond_destroy(&w->told);
    pthread_mutex_destroy(&w->mutex);
    free(w);
    return model;
}

static served_model *use(const kd_model *model)
{
    kd_error why = KD_ERROR_INIT;
    served_model *const served = told(ask(model), &why);
    if (!served)
        fail_msg("%s: %s", model->name, why.message);
    CHECK_STR(model->id, served_model_about(served)->id);
    CHECK(served_model_forward(served) != NULL);
    return served;
}

static void use_and_release(const kd_model *model)
{
    model_set_release(g_table, use(model));
}

/* Names of those in memory, most recently used first. */
static const char *in_memory(void)
{
    static char text[256];
    kd_model list[KD_EMBEDDER_MAX_MODELS];
    uint64_t bytes[KD_EMBEDDER_MAX_MODELS];
    const size_t n = model_set_list(g_table, list, bytes);
    text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        CHECK(bytes[i] > list[i].bytes);
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s ", list[i].name);
    }
    return text;
}

/* Room for this many models and a half. */
static void begin_with_room_for(room *r, unsigned n)
{
    static double one;
    if (one == 0) {
        begin(r, UINT64_MAX / 2);
        use_and_release(&g_models[A]);
        one = model_bytes();
        CHECK(one > (double)g_models[A].bytes);
        (void)end(NULL);
    }
    begin(r, (uint64_t)(one * (n + 0.5)));
}

/* ---- Tests ---- */

static void test_models__all_who_wait_get_it_and_it_is_loaded_once(void **state)
{
    waiter *waiters[20];
    begin(*state, UINT64_MAX / 2);
    for (int i = 0; i < 20; i++)
        waiters[i] = ask(&g_models[A]);
    served_model *const first = told(waiters[0], NULL);
    CHECK(first != NULL);
    for (int i = 1; i < 20; i++)
        CHECK(told(waiters[i], NULL) == first);
    for (int i = 0; i < 20; i++)
        model_set_release(g_table, first);
    CHECK_INT(1, counted("kindred_embed_model_loads_total"));
    CHECK_STR("a ", in_memory());
}

/* A load checks itself without oneDNN, which is a switch of the whole process. */
static void test_models__a_forward_beside_a_load_gives_what_it_gave(void **state)
{
    enum { FLOATS = KD_NN_MIN_IMAGE_SIZE * KD_NN_MIN_IMAGE_SIZE * 3 };
    static float pixels[FLOATS], expected[KD_NN_MAX_DIM], got[KD_NN_MAX_DIM];
    room *const r = *state;
    for (int i = 0; i < FLOATS; i++)
        pixels[i] = (float)(i * 37 % 101) / 50 - 1;
    begin(r, UINT64_MAX / 2);
    served_model *const a = use(&g_models[A]);
    kd_forward *const forward = served_model_forward(a);
    CHECK_OK(kd_forward_run(forward, pixels, 1, expected, &r->err), r->err);
    waiter *const b = ask(&g_models[B]);
    do {
        CHECK_OK(kd_forward_run(forward, pixels, 1, got, &r->err), r->err);
        for (unsigned i = 0; i < KD_NN_MAX_DIM; i++)
            CHECK_NEAR((double)expected[i], (double)got[i], 1e-6);
    } while (!is_done(b));
    model_set_release(g_table, told(b, NULL));
    model_set_release(g_table, a);
}

static void test_models__the_least_recently_used_makes_room(void **state)
{
    begin_with_room_for(*state, 2);
    use_and_release(&g_models[A]);
    use_and_release(&g_models[B]);
    use_and_release(&g_models[A]);
    CHECK_STR("a b ", in_memory());
    use_and_release(&g_models[C]);
    CHECK_STR("c a ", in_memory());
    CHECK_INT(1, counted("kindred_embed_model_unloads_total"));
}

static void test_models__one_in_use_never_makes_room(void **state)
{
    kd_error why = KD_ERROR_INIT;
    begin_with_room_for(*state, 2);
    served_model *const a = use(&g_models[A]);
    use_and_release(&g_models[B]);
    served_model *const c = use(&g_models[C]);
    CHECK_STR("c a ", in_memory());
    waiter *const b = ask(&g_models[B]); /* waits for either */
    model_set_release(g_table, a);
    model_set_release(g_table, told(b, &why));
    CHECK_STR("b c ", in_memory());
    model_set_release(g_table, c);
}

static void test_models__without_room_the_sentence_has_the_numbers(void **state)
{
    kd_error why = KD_ERROR_INIT;
    begin(*state, 1 << 20);
    CHECK(told(ask(&g_models[A]), &why) == NULL);
    CHECK_INT(KD_RESOURCE_EXHAUSTED, why.status);
    CHECK_HAS("model 'a' takes ", why.message);
    CHECK_HAS("models may take 1 MiB", why.message);
    CHECK_STR("", in_memory());
}

static void test_models__one_that_cannot_be_loaded_costs_nobody_a_model(void **state)
{
    room *const r = *state;
    kd_error why = KD_ERROR_INIT;
    char *const path = kd_models_weights_path(r->dir, g_models[C].id);
    char *const aside = kd_format("%s.aside", path);
    begin_with_room_for(r, 2);
    use_and_release(&g_models[A]);
    use_and_release(&g_models[B]);
    CHECK(rename(path, aside) == 0);
    CHECK_OK(kd_file_write(path, "torn", 4, &r->err), r->err);
    CHECK(told(ask(&g_models[C]), &why) == NULL);
    CHECK(why.status != KD_OK && why.message[0] != '\0');
    CHECK_STR("b a ", in_memory());
    CHECK_INT(1, counted("kindred_embed_model_failures_total"));
    CHECK(rename(aside, path) == 0);
    use_and_release(&g_models[C]); /* tried anew */
    free(aside);
    free(path);
}

static void test_models__one_that_is_unloaded_in_use_ends_with_its_user(void **state)
{
    begin(*state, UINT64_MAX / 2);
    CHECK(!model_set_unload(g_table, "a"));
    served_model *const a = use(&g_models[A]);
    CHECK(model_set_unload(g_table, "a"));
    CHECK_STR("", in_memory());
    CHECK(model_bytes() > 0); /* still */
    served_model *const again = use(&g_models[A]);
    CHECK(again != a);
    model_set_release(g_table, a);
    CHECK(model_set_unload(g_table, g_models[A].id));
    model_set_release(g_table, again);
    CHECK(model_bytes() == 0);
}

static void test_models__the_one_before_answers_to_a_name_until_the_new_one_is_there(void **state)
{
    room *const r = *state;
    kd_error why = KD_ERROR_INIT;
    const kd_model before = g_models[A];
    kd_model after, asked;
    begin(r, UINT64_MAX / 2);
    asked = before;
    model_set_stand_in(g_table, "a", &asked);
    CHECK_STR(before.id, asked.id);
    use_and_release(&before);
    CHECK_OK(kd_models_remove(r->dir, before.id, &r->err), r->err);
    publish_net(r, "a", 9, &after);
    g_models[A] = after; /* for the tests that follow */
    char *const path = kd_models_weights_path(r->dir, after.id);
    char *const aside = kd_format("%s.aside", path);
    CHECK(rename(path, aside) == 0);
    asked = after;
    model_set_stand_in(g_table, "a", &asked); /* begins to load what can't be */
    CHECK_STR(before.id, asked.id);
    asked = after;
    model_set_stand_in(g_table, after.id, &asked);
    CHECK_STR(after.id, asked.id); /* an id is always its model's */
    CHECK(told(ask(&after), &why) == NULL);
    CHECK_INT(KD_NOT_FOUND, why.status);
    const uint64_t failures = counted("kindred_embed_model_failures_total");
    for (int i = 0; i < 10; i++) {
        asked = after;
        model_set_stand_in(g_table, "a", &asked);
        CHECK_STR(before.id, asked.id);
    }
    CHECK_INT(failures, counted("kindred_embed_model_failures_total")); /* not at each use */

    CHECK(rename(aside, path) == 0);
    use_and_release(&after);
    asked = after;
    model_set_stand_in(g_table, "a", &asked);
    CHECK_STR(after.id, asked.id);
    CHECK_STR("a ", in_memory()); /* the one before has gone */
    free(aside);
    free(path);
}

static void test_models__closing_tells_all_who_wait(void **state)
{
    waiter *waiters[MODELS];
    begin(*state, UINT64_MAX / 2);
    for (int i = 0; i < MODELS; i++)
        waiters[i] = ask(&g_models[i]);
    model_set_close(g_table);
    for (int i = 0; i < MODELS; i++) {
        kd_error why = KD_ERROR_INIT;
        served_model *const one = told(waiters[i], &why);
        if (one)
            model_set_release(g_table, one);
        else
            CHECK_INT(KD_UNAVAILABLE, why.status);
    }
    kd_error why = KD_ERROR_INIT;
    (void)!told(ask(&g_models[A]), &why);
}

static void test_models__so_many_may_wait(void **state)
{
    static waiter *waiters[KD_EMBEDDER_MAX_PARKED];
    kd_error why = KD_ERROR_INIT;
    begin(*state, UINT64_MAX / 2);
    waiter *const other = ask(&g_models[B]); /* the loader is busy */
    for (unsigned i = 0; i < KD_EMBEDDER_MAX_PARKED - 1; i++)
        waiters[i] = ask(&g_models[A]);
    CHECK(told(ask(&g_models[A]), &why) == NULL);
    CHECK_INT(KD_RESOURCE_EXHAUSTED, why.status);
    model_set_release(g_table, told(other, &why));
    for (unsigned i = 0; i < KD_EMBEDDER_MAX_PARKED - 1; i++)
        model_set_release(g_table, told(waiters[i], &why));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(test_models__##f, end)
    const struct CMUnitTest tests[] = {
        TEST(all_who_wait_get_it_and_it_is_loaded_once),
        TEST(a_forward_beside_a_load_gives_what_it_gave),
        TEST(the_least_recently_used_makes_room),
        TEST(one_in_use_never_makes_room),
        TEST(without_room_the_sentence_has_the_numbers),
        TEST(one_that_cannot_be_loaded_costs_nobody_a_model),
        TEST(one_that_is_unloaded_in_use_ends_with_its_user),
        TEST(the_one_before_answers_to_a_name_until_the_new_one_is_there),
        TEST(closing_tells_all_who_wait),
        TEST(so_many_may_wait),
    };
    return cmocka_run_group_tests_name("embedder.models", tests, start, teardown);
}
