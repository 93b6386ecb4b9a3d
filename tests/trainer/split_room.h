/* tests/trainer/split_room.h: the images that tests of the split divide. */
#ifndef KD_TESTS_TRAINER_SPLIT_ROOM_H
#define KD_TESTS_TRAINER_SPLIT_ROOM_H

#include <string.h>

#include "services/trainer/split.h"
#include "tests/support/check.h"

#define MOST 20000u
#define MOST_CLASSES 8000u

static uint32_t g_classes[MOST], g_groups[MOST];
static bool g_usable[MOST];
static size_t g_n;
static uint32_t g_n_classes, g_n_groups;
static kd_error g_err = KD_ERROR_INIT;

static inline void clear(void)
{
    g_n = g_n_classes = g_n_groups = 0;
}

/* The next super-class: so many classes of so many images. */
static inline void add_group(uint32_t classes, uint32_t images)
{
    for (uint32_t c = 0; c < classes; c++, g_n_classes++) {
        CHECK(g_n + images <= MOST && g_n_classes < MOST_CLASSES);
        for (uint32_t i = 0; i < images; i++, g_n++) {
            g_classes[g_n] = g_n_classes;
            g_groups[g_n] = g_n_groups;
            g_usable[g_n] = true;
        }
    }
    g_n_groups++;
}

/* Every usable image trains, validates or is held back, in rising order; the gallery is of those
 * that train. */
static inline void check_roles(const train_split *split)
{
    static int seen[MOST];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < split->n_train; i++) {
        seen[split->train[i]]++;
        CHECK(i == 0 || split->train[i - 1] < split->train[i]);
    }
    for (size_t i = 0; i < split->n_validation; i++) {
        seen[split->validation[i]] += 3;
        CHECK(i == 0 || split->validation[i - 1] < split->validation[i]);
    }
    for (size_t i = 0; i < split->n_held; i++) {
        seen[split->held[i]] += 5;
        CHECK(i == 0 || split->held[i - 1] < split->held[i]);
    }
    for (size_t i = 0; i < g_n; i++)
        CHECK(g_usable[i] ? seen[i] == 1 || seen[i] == 3 || seen[i] == 5 : seen[i] == 0);
    for (size_t i = 0; i < split->n_gallery; i++)
        CHECK_INT(2, ++seen[split->gallery[i]]);
    CHECK(split->n_validation <= SPLIT_MAX_VALIDATION && split->n_gallery <= SPLIT_MAX_GALLERY);
}

#endif
