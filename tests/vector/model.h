/* tests/vector/model.h: seeded vectors, and a search by brute force in double to compare with. */
#ifndef KD_TESTS_VECTOR_MODEL_H
#define KD_TESTS_VECTOR_MODEL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/vector/vector.h"

/* Races show in small rooms too, and the thread sanitizer takes its time. */
#ifdef __SANITIZE_THREAD__
enum { FEWER = 3 };
#else
enum { FEWER = 1 };
#endif

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline double next_unit(uint64_t *state)
{
    return (double)(next_random(state) >> 11) / 9007199254740992.0;
}

static inline void unit_vector(uint64_t *state, size_t dim, float *out)
{
    double squares = 0;
    for (size_t i = 0; i < dim; i++) {
        out[i] = (float)(next_unit(state) + next_unit(state) + next_unit(state) - 1.5);
        squares += (double)out[i] * (double)out[i];
    }
    for (size_t i = 0; i < dim; i++)
        out[i] = (float)((double)out[i] / sqrt(squares));
}

typedef struct model_row {
    uint64_t id;
    double score;
} model_row;

static inline int model_order(const void *left, const void *right)
{
    const model_row *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static inline double model_dot(const float *a, const float *b, size_t dim)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* True when hit is at its place: rows[at], or a row whose score differs from that one's by less
 * than float can tell. Equal scores are no excuse: ties go to the lower id. */
static inline bool model_agrees(const model_row *rows, size_t n, size_t at, const kd_hit *hit)
{
    size_t found = at;
    if (rows[at].id != hit->id)
        for (found = 0; found < n && rows[found].id != hit->id; found++)
            continue;
    return found < n && fabs(rows[found].score - (double)hit->score) < 1e-6 &&
           (found == at || (rows[found].score != rows[at].score &&
                               fabs(rows[found].score - rows[at].score) < 2e-7));
}

#endif
