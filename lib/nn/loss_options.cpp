/* The losses' names, their settings and what these may be. Needs no LibTorch. */
#include <cassert>
#include <cmath>
#include <cstring>

#include "lib/nn/loss.h"

namespace
{

/* What a setting may be; lowest above highest: the loss has no such setting, and it must be 0. */
struct Range {
    float lowest, highest;
    float standard;
};
constexpr float any = INFINITY;
constexpr Range unused = {1, 0, 0};
constexpr float smallest_scale = 1e-6f;

struct Traits {
    const char *name;
    bool head;
    bool distances; /* a choice of miner, distance and reduction */
    kd_miner miner;
    Range margin, positive_margin, scale, positive_scale;
};

/* In order of kd_loss. Cosines differ by 2 at most, so a margin between them beyond that has no
 * meaning. */
constexpr Traits traits[KD_LOSSES] = {
    {"cross-entropy", true, false, KD_MINER_ALL, unused, unused, unused, unused},
    {"norm-softmax", true, false, KD_MINER_ALL, unused, unused, {smallest_scale, any, 1 / 0.05f},
        unused},
    {"arcface", true, false, KD_MINER_ALL, {0, 180, 28.6f}, unused, {smallest_scale, any, 64},
        unused},
    {"cosface", true, false, KD_MINER_ALL, {0, 2, 0.35f}, unused, {smallest_scale, any, 64},
        unused},
    {"proxy-anchor", true, false, KD_MINER_ALL, {0, 2, 0.1f}, unused, {smallest_scale, any, 32},
        unused},
    {"contrastive", false, true, KD_MINER_ALL, {0, any, 0.5f}, {0, any, 0}, unused, unused},
    {"triplet", false, true, KD_MINER_BATCH_HARD, {0, any, 0}, unused, unused, unused},
    {"multi-similarity", false, false, KD_MINER_ALL, {-1, 1, 0.5f}, unused,
        {smallest_scale, any, 50}, {smallest_scale, any, 2}},
    {"supervised-contrastive", false, false, KD_MINER_ALL, unused, unused,
        {smallest_scale, any, 1 / 0.1f}, unused},
};

/* In order of kd_miner. */
constexpr const char *miner_names[KD_MINERS] = {
    "all", "random", "semi-hard", "batch-hard", "distance-weighted"};

const Traits &traits_of(kd_loss loss)
{
    assert(static_cast<unsigned>(loss) < KD_LOSSES);
    return traits[loss];
}

kd_status check_range(
    const char *loss, const char *field, float value, const Range &range, kd_error *err)
{
    const auto given = static_cast<double>(value);
    if (range.lowest > range.highest)
        return value == 0 ? KD_OK
                          : kd_error_set(err, KD_INVALID_ARGUMENT,
                                "the %s is %g, but the loss %s has none", field, given, loss);
    if (std::isfinite(value) && value >= range.lowest && value <= range.highest)
        return KD_OK;
    if (std::isinf(range.highest))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the %s is %g, needed is %g or more", field,
            given, static_cast<double>(range.lowest));
    return kd_error_set(err, KD_INVALID_ARGUMENT, "the %s is %g, allowed is %g..%g", field, given,
        static_cast<double>(range.lowest), static_cast<double>(range.highest));
}

kd_status check_numbers(const kd_loss_options &options, const Traits &loss, kd_error *err)
{
    const struct {
        const char *field;
        float value;
        const Range &range;
    } settings[] = {
        {"margin", options.margin, loss.margin},
        {"positive margin", options.positive_margin, loss.positive_margin},
        {"scale", options.scale, loss.scale},
        {"positive scale", options.positive_scale, loss.positive_scale},
    };
    for (const auto &setting : settings) {
        const kd_status status =
            check_range(loss.name, setting.field, setting.value, setting.range, err);
        if (status != KD_OK)
            return status;
    }
    return KD_OK;
}

kd_status check_comparison(const kd_loss_options &options, const Traits &loss, kd_error *err)
{
    if (!loss.distances && options.miner != KD_MINER_ALL)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the miner is %s, but the loss %s has no choice of miner", miner_names[options.miner],
            loss.name);
    if (!loss.distances && options.distance != KD_DISTANCE_EUCLIDEAN)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the loss %s has no choice of distance", loss.name);
    if (!loss.distances && options.reduction != KD_REDUCTION_MEAN)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the loss %s has no choice of reduction", loss.name);
    if (!loss.distances && options.raw)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the loss %s has no form on raw embeddings", loss.name);
    if (options.raw && options.distance == KD_DISTANCE_COSINE)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "raw embeddings need the Euclidean distance: the cosine leaves their length out");
    if (options.loss == KD_LOSS_TRIPLET && options.miner == KD_MINER_SEMI_HARD &&
        options.margin == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the margin is 0, but the miner semi-hard looks for negatives within it");
    return KD_OK;
}

} // namespace

const char *kd_loss_name(kd_loss loss)
{
    return traits_of(loss).name;
}

bool kd_loss_parse(const char *name, kd_loss *out)
{
    assert(name && out);
    for (unsigned i = 0; i < KD_LOSSES; i++)
        if (std::strcmp(name, traits[i].name) == 0) {
            *out = static_cast<kd_loss>(i);
            return true;
        }
    return false;
}

const char *kd_miner_name(kd_miner miner)
{
    assert(static_cast<unsigned>(miner) < KD_MINERS);
    return miner_names[miner];
}

bool kd_miner_parse(const char *name, kd_miner *out)
{
    assert(name && out);
    for (unsigned i = 0; i < KD_MINERS; i++)
        if (std::strcmp(name, miner_names[i]) == 0) {
            *out = static_cast<kd_miner>(i);
            return true;
        }
    return false;
}

bool kd_loss_has_head(kd_loss loss)
{
    return traits_of(loss).head;
}

bool kd_loss_has_miner(kd_loss loss)
{
    return traits_of(loss).distances;
}

void kd_loss_defaults(kd_loss loss, kd_loss_options *out)
{
    assert(out);
    const Traits &defaults = traits_of(loss);
    *out = {};
    out->loss = loss;
    out->miner = defaults.miner;
    out->margin = defaults.margin.standard;
    out->positive_margin = defaults.positive_margin.standard;
    out->scale = defaults.scale.standard;
    out->positive_scale = defaults.positive_scale.standard;
}

kd_status kd_loss_check(const kd_loss_options *options, kd_error *err)
{
    assert(options && static_cast<unsigned>(options->miner) < KD_MINERS);
    const Traits &loss = traits_of(options->loss);
    kd_status status = check_comparison(*options, loss, err);
    if (status == KD_OK)
        status = check_numbers(*options, loss, err);
    if (status != KD_OK)
        return status;
    if (loss.head && options->classes < 2)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the number of classes is %u, the loss %s needs 2 or more", options->classes,
            loss.name);
    if (!loss.head && options->classes > 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the number of classes is %u, but the loss %s has no head", options->classes,
            loss.name);
    if (loss.head && options->memory > 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the memory is %u, but the loss %s compares no pairs", options->memory, loss.name);
    if (options->memory > KD_LOSS_MAX_MEMORY)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the memory is %u, allowed is 0..%u",
            options->memory, KD_LOSS_MAX_MEMORY);
    return KD_OK;
}
