#include "tests/nn/loss_support.h"

#include <string.h>

#include "tests/nn/nn_support.h"

static const uint32_t g_labels[LOSS_N] = {0, 0, 0, 1, 1, 2, 2, 1, 3, 2};

static void fill_rows(float *rows, const uint32_t *labels, uint32_t stream)
{
    for (uint32_t i = 0; i < LOSS_N; i++)
        for (uint32_t k = 0; k < LOSS_DIM; k++)
            rows[i * LOSS_DIM + k] =
                (float)(0.7 * nn_noise(2000 + labels[i], k) + 0.6 * nn_noise(stream + i, k));
}

static void copy_row(float *rows, size_t to, size_t from, float factor)
{
    for (size_t k = 0; k < LOSS_DIM; k++)
        rows[to * LOSS_DIM + k] = factor * rows[from * LOSS_DIM + k];
}

void loss_fill(loss_data *data, loss_batch batch)
{
    memset(data, 0, sizeof *data);
    if (batch != LOSS_ONE_LABEL)
        memcpy(data->labels, g_labels, sizeof g_labels);
    fill_rows(data->embeddings, data->labels, 2100);
    if (batch == LOSS_DUPLICATES) {
        copy_row(data->embeddings, 1, 0, 1);
        copy_row(data->embeddings, 4, 0, 1);
        copy_row(data->embeddings, 3, 7, 2);
    } else if (batch == LOSS_OPPOSITE) {
        copy_row(data->embeddings, 1, 0, -1);
        copy_row(data->embeddings, 5, 0, -1);
    }
    for (uint32_t c = 0; c < LOSS_CLASSES; c++) {
        data->bias[c] = (float)nn_noise(2300, c);
        for (uint32_t k = 0; k < LOSS_DIM; k++)
            data->weights[c * LOSS_DIM + k] = (float)nn_noise(2200 + c, k);
    }
    for (uint32_t b = 0; b < LOSS_EARLIER; b++) {
        for (uint32_t i = 0; i < LOSS_N; i++)
            data->earlier_labels[b * LOSS_N + i] = (g_labels[i] + b) % 4;
        fill_rows(&data->earlier[b * LOSS_N * LOSS_DIM], &data->earlier_labels[b * LOSS_N],
            2400 + b * LOSS_N);
    }
}

kd_loss_inputs loss_inputs_of(const loss_data *data, kd_loss loss)
{
    kd_loss_inputs inputs = {.embeddings = data->embeddings,
        .labels = data->labels,
        .n = LOSS_N,
        .dim = LOSS_DIM,
        .seed = 1,
        .earlier = data->earlier,
        .earlier_labels = data->earlier_labels};
    if (kd_loss_has_head(loss))
        inputs.weights = data->weights;
    if (loss == KD_LOSS_CROSS_ENTROPY)
        inputs.bias = data->bias;
    return inputs;
}

kd_loss_options loss_default_options(kd_loss loss)
{
    kd_loss_options options;
    kd_loss_defaults(loss, &options);
    if (kd_loss_has_head(loss))
        options.classes = LOSS_CLASSES;
    return options;
}
