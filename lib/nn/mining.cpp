#include "lib/nn/mining.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace kd::nn
{

namespace
{

/* The standard library's distributions differ between its makers, its generators don't. */
class Draw
{
  public:
    explicit Draw(uint64_t seed) : generator_(seed)
    {
    }
    /* 0..count-1; the preference for small ones, count in 2^64, is beyond notice. */
    size_t below(size_t count)
    {
        return static_cast<size_t>(generator_() % count);
    }
    /* 0 and more, less than 1 */
    double fraction()
    {
        return static_cast<double>(generator_() >> 11) * 0x1p-53;
    }

  private:
    std::mt19937_64 generator_;
};

/* What one anchor is compared with. */
struct Anchor {
    int64_t index;
    const float *distances; /* its row; NULL where the miner needs none */
    std::vector<int64_t> positives, negatives;
};

void take_anchor(const MinedBatch &batch, int64_t i, Anchor *anchor)
{
    anchor->index = i;
    anchor->distances = batch.distances ? batch.distances + i * batch.m : nullptr;
    anchor->positives.clear();
    anchor->negatives.clear();
    for (int64_t j = 0; j < batch.m; j++) {
        if (batch.reference_labels[j] != batch.labels[i])
            anchor->negatives.push_back(j);
        else if (j != batch.first + i)
            anchor->positives.push_back(j);
    }
}

void add(Triplets *found, int64_t anchor, int64_t positive, int64_t negative)
{
    found->anchor.push_back(anchor);
    found->positive.push_back(positive);
    found->negative.push_back(negative);
}

void mine_all(const Anchor &anchor, Triplets *found)
{
    for (const int64_t positive : anchor.positives)
        for (const int64_t negative : anchor.negatives)
            add(found, anchor.index, positive, negative);
}

void mine_random(const Anchor &anchor, Draw *draw, Triplets *found)
{
    for (const int64_t positive : anchor.positives)
        add(found, anchor.index, positive, anchor.negatives[draw->below(anchor.negatives.size())]);
}

void mine_semi_hard(const Anchor &anchor, float margin, Triplets *found)
{
    for (const int64_t positive : anchor.positives)
        for (const int64_t negative : anchor.negatives) {
            const float gap = anchor.distances[negative] - anchor.distances[positive];
            if (gap > 0 && gap <= margin)
                add(found, anchor.index, positive, negative);
        }
}

void mine_batch_hard(const Anchor &anchor, Triplets *found)
{
    const auto nearer = [&anchor](int64_t a, int64_t b) {
        return anchor.distances[a] < anchor.distances[b];
    };
    const auto farthest =
        std::max_element(anchor.positives.begin(), anchor.positives.end(), nearer);
    const auto nearest = std::min_element(anchor.negatives.begin(), anchor.negatives.end(), nearer);
    add(found, anchor.index, *farthest, *nearest);
}

/* The inverse of the density of distances between random points of the unit sphere (Wu et al. 2017,
 * section 4), cut as pytorch-metric-learning cuts it: the same weight for all that are nearer than
 * 0.5, none for what no longer gives a loss. Relative to the anchor's greatest, so that none of its
 * negatives is lost in rounding. */
std::vector<double> cumulative_weights(const Anchor &anchor, int64_t dim)
{
    constexpr double near = 0.5;
    constexpr double far = 1.4;
    const auto d = static_cast<double>(dim);
    std::vector<double> weights;
    double greatest = -INFINITY;
    for (const int64_t negative : anchor.negatives) {
        const double distance = std::max(near, static_cast<double>(anchor.distances[negative]));
        const double density =
            (d - 2) * std::log(distance) + (d - 3) / 2 * std::log(1 - distance * distance / 4);
        weights.push_back(distance < far ? -density : -INFINITY);
        greatest = std::max(greatest, weights.back());
    }
    double sum = 0;
    for (double &weight : weights) {
        sum += std::isinf(weight) ? 0 : std::exp(weight - greatest);
        weight = sum;
    }
    return weights;
}

void mine_distance_weighted(const Anchor &anchor, int64_t dim, Draw *draw, Triplets *found)
{
    const std::vector<double> sums = cumulative_weights(anchor, dim);
    if (!(sums.back() > 0))
        return;
    for (const int64_t positive : anchor.positives) {
        const auto chosen =
            std::upper_bound(sums.begin(), sums.end(), draw->fraction() * sums.back());
        /* The product may round up to the whole sum. */
        const auto at = std::min(chosen - sums.begin(),
            std::lower_bound(sums.begin(), sums.end(), sums.back()) - sums.begin());
        add(found, anchor.index, positive, anchor.negatives[static_cast<size_t>(at)]);
    }
}

} // namespace

Triplets mine(kd_miner miner, const MinedBatch &batch)
{
    Triplets found;
    Draw draw(batch.seed);
    Anchor anchor;
    for (int64_t i = 0; i < batch.n; i++) {
        take_anchor(batch, i, &anchor);
        if (anchor.positives.empty() || anchor.negatives.empty())
            continue;
        switch (miner) {
        case KD_MINER_ALL:
            mine_all(anchor, &found);
            break;
        case KD_MINER_RANDOM:
            mine_random(anchor, &draw, &found);
            break;
        case KD_MINER_SEMI_HARD:
            mine_semi_hard(anchor, batch.margin, &found);
            break;
        case KD_MINER_BATCH_HARD:
            mine_batch_hard(anchor, &found);
            break;
        case KD_MINER_DISTANCE_WEIGHTED:
            mine_distance_weighted(anchor, batch.dim, &draw, &found);
            break;
        }
    }
    return found;
}

} // namespace kd::nn
