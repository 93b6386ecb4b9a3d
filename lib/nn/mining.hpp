/* lib/nn/mining.hpp: which triplets of a batch a loss takes. Works on the CPU with the standard
 * library alone, so that every LibTorch and device draws the same. */
#ifndef KD_NN_MINING_HPP
#define KD_NN_MINING_HPP

#include <cstdint>
#include <vector>

#include "lib/nn/loss.h"

namespace kd::nn
{

/* n anchors before m references; the column first + i of anchor i is itself, which is neither
 * positive nor negative to it. All borrowed. */
struct MinedBatch {
    int64_t n, m, first;
    const int64_t *labels;           /* n */
    const int64_t *reference_labels; /* m */
    const float *distances;          /* n × m; ALL and RANDOM do without */
    float margin;                    /* SEMI_HARD */
    int64_t dim; /* DISTANCE_WEIGHTED: whose distances are those on the sphere */
    uint64_t seed;
};

struct Triplets {
    std::vector<int64_t> anchor, positive, negative; /* of one length */
};

/* In order of anchor, positive, negative.
 *   ALL                every triplet
 *   RANDOM             one negative for each pair of anchor and positive, each as likely
 *   SEMI_HARD          0 < dn - dp <= margin
 *   BATCH_HARD         one for each anchor that has both: its farthest positive, nearest negative
 *   DISTANCE_WEIGHTED  as RANDOM, by weight; none where all weights are 0 */
Triplets mine(kd_miner miner, const MinedBatch &batch);

} // namespace kd::nn

#endif
