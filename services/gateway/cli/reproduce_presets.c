#include "services/gateway/cli/reproduce.h"

#include <assert.h>
#include <string.h>

/* protobuf-c's structures are not const: these are read alone. */
#define REAL(name, number)                                                                         \
    static Kindred__V1__Real name = {                                                              \
        PROTOBUF_C_MESSAGE_INIT(&kindred__v1__real__descriptor), (number)}
#define TEXT(literal) ((char *)(uintptr_t)(literal))

REAL(none, 0);
REAL(whole, 1);
REAL(narrow, 0.35);

enum { PLAIN, CROSS_ENTROPY, ARCFACE, CONTRASTIVE, TRIPLET, PROXY_ANCHOR };
static const char *const systems[REPRODUCE_SYSTEMS] = {
    "plain", "cross-entropy", "arcface", "contrastive", "triplet", "proxy-anchor"};

enum { QUICK, ORIGINAL, BEST };
static const reproduce_preset presets[] = {
    [QUICK] = {"quick", 128, 5},
    [ORIGINAL] = {"original", 224, 5},
    [BEST] = {"best", 224, 6},
};

const reproduce_preset *reproduce_preset_find(const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++)
        if (strcmp(name, presets[i].name) == 0)
            return &presets[i];
    return NULL;
}

const char *reproduce_system(size_t system)
{
    assert(system < REPRODUCE_SYSTEMS);
    return systems[system];
}

/* Adam at 1e-3 for all layers, a tenth of it after three epochs without a better one, twenty
 * epochs, flips and light alone. Where that program's code fails its own report (positives of any
 * class, one kind of pair to a batch), the positives are of the same class here, and a batch has
 * both. Margins, sums and embeddings that are not normalised are its own; batches of 128 fit its
 * plotted losses. */
static void set_original(Kindred__V1__TrainSpec *t, size_t system)
{
    t->epochs = 20;
    t->optimizer = TEXT("adam");
    t->learning_rate = t->head_learning_rate = 1e-3;
    t->weight_decay = &none;
    t->schedule = TEXT("plateau");
    t->warmup = &none;
    t->plateau_patience = 3;
    t->crop = &whole;
    if (system == CONTRASTIVE || system == TRIPLET) {
        t->batch_classes = 32;
        t->batch_images = 4;
        t->margin = system == TRIPLET ? 0.9 : 0.5;
        t->reduction = TEXT("sum");
        t->raw = true;
        t->miner = TEXT("random");
    } else {
        t->batch_size = 128;
        t->labels = TEXT("super-class"); /* ArcFace's, too, has twelve outputs there */
    }
}

/* docs/training.md, "A recipe". */
static void set_recipe(Kindred__V1__TrainSpec *t)
{
    t->epochs = 11;
    t->schedule = TEXT("one-cycle");
    t->head_learning_rate = 0.005;
    t->crop = &narrow;
}

Kindred__V1__TrainSpec reproduce_training(const reproduce_preset *preset, size_t system)
{
    Kindred__V1__TrainSpec t = KINDRED__V1__TRAIN_SPEC__INIT;
    assert(system > PLAIN && system < preset->n_systems);
    t.loss = TEXT(systems[system]);
    t.labels = TEXT(system == CROSS_ENTROPY ? "super-class" : "class");
    t.validation = TEXT("images");
    t.validation_share = 0.2;
    t.on_collapse = TEXT("fix");
    if (preset == &presets[QUICK])
        t.epochs = 6;
    else if (preset == &presets[ORIGINAL])
        set_original(&t, system);
    else if (system == PROXY_ANCHOR)
        set_recipe(&t);
    return t;
}
