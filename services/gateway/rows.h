/* services/gateway/rows.h: which queries an evaluation shows with their nearest, and what the files
 * of its report are called. Apart from the rest of the gateway, so that tests and the command can
 * have it alone. */
#ifndef KD_GATEWAY_ROWS_H
#define KD_GATEWAY_ROWS_H

#include "lib/dataset/dataset.h"

/* ---- rows_choose.c ---- */
#define SHOW_MAX 64u      /* words of one evaluation */
#define SHOW_QUERIES 10u  /* of a class */
#define SHOW_CLASSES 100u /* of a super-class, a query of each */

/* The queries that are shown, by their items, and how large. The same for each model. */
typedef struct shown {
    size_t *items; /* owned */
    size_t n;
    size_t left_out; /* queries that were asked for and are more than may be shown */
    uint32_t side;   /* of the pictures, which all are in the page */
} shown;
void shown_free(shown *s);

/* Each word must name a class or super-class of the dataset's images, or where none has that name
 * be the id of one. KD_NOT_FOUND names the word that isn't; KD_INVALID_ARGUMENT: more than
 * SHOW_MAX. */
KD_MUST_CHECK kd_status show_check(
    const kd_dataset *dataset, const char *const *show, size_t n_show, kd_error *err);

/* Chooses among the n queries, which are the dataset's items rows[0..n-1] (ascending). Without
 * words the first of each super-class, by the super-classes' ids. With words, in their order: of a
 * class up to SHOW_QUERIES of its queries, of a super-class the first query of each of its classes,
 * up to SHOW_CLASSES; of a word that means both, both. No query comes twice. Wherever there are
 * more, and where all are more than most, those that are kept are evenly spread. Fills all of *out
 * but the side; fails as show_check does. */
KD_MUST_CHECK kd_status rows_choose(shown *out, const kd_dataset *dataset, const size_t *rows,
    size_t n, const char *const *show, size_t n_show, size_t most, kd_error *err);

/* ---- report_files.c ---- */
/* A strip's file below the report's folder: "rows/sop-1-plain-003-mug-2.png". Unique by the numbers
 * (from 1) of model and row within a protocol; the names are for people, of each what a file name
 * may hold anywhere: letters, digits and _, cut to a few. Names may be NULL. */
#define STRIP_NAME 256
void strip_name(char out[STRIP_NAME], const char *protocol, size_t model, const char *model_name,
    size_t row, const char *super_class_name, const char *class_name);
/* Whether strip_name could have made it. What is true leads to no other folder. */
bool is_strip_name(const char *name);
/* The media type of a report's file; NULL where no report has a file of this name. */
const char *report_file_type(const char *name);

#endif
