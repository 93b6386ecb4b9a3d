/* Losses that compare the embeddings of a batch with one another, or, with a memory, with the
 * latest embeddings (Wang et al. 2020, "Cross-Batch Memory for Embedding Learning"): as
 * pytorch-metric-learning does it, the batch is taken in first, is compared with the memory alone,
 * and nothing with itself. What is remembered has no gradient, the batch's own copies neither.
 *
 * In one thing the two differ: where a single pair or triplet is all there is, that library answers
 * 0 for some losses. */
#include <algorithm>
#include <limits>

#include "lib/nn/loss_parts.hpp"
#include "lib/nn/mining.hpp"

namespace kd::nn
{

namespace
{

/* What a batch is compared with, its m references, among them the batch itself. */
struct References {
    torch::Tensor embeddings; /* m × dim, on the device */
    torch::Tensor labels;     /* m, on the CPU */
    int64_t first;            /* the batch's first */
};

/* The ring's numbers: how many it holds, and where the next goes. */
struct Ring {
    int64_t count, next;
};

class PairLoss : public Loss
{
  public:
    PairLoss(const kd_loss_options &options, int64_t dim, torch::Device device);
    LossValue evaluate(
        const torch::Tensor &embeddings, const uint32_t *labels, uint64_t seed) override;
    void remember(const torch::Tensor &embeddings, const uint32_t *labels) override;
    std::vector<NamedTensor> buffers() const override;

  private:
    Ring ring() const;
    void need_room(int64_t n) const;
    References references(const torch::Tensor &embeddings, const torch::Tensor &labels) const;
    LossValue by_distance(const torch::Tensor &embeddings, const torch::Tensor &labels,
        const References &references, uint64_t seed) const;
    LossValue by_similarity(const torch::Tensor &embeddings, const torch::Tensor &labels,
        const References &references) const;

    kd_loss_options options_;
    torch::Tensor embeddings_; /* memory × dim, on the device, as the network gave them */
    torch::Tensor labels_;     /* memory, on the CPU */
    torch::Tensor state_;      /* ring's, on the CPU */
};

PairLoss::PairLoss(const kd_loss_options &options, int64_t dim, torch::Device device)
    : options_(options)
{
    const auto memory = static_cast<int64_t>(options.memory);
    embeddings_ = torch::zeros({memory, dim}, torch::TensorOptions(torch::kFloat).device(device));
    labels_ = torch::zeros({memory}, torch::kLong);
    state_ = torch::zeros({2}, torch::kLong);
}

std::vector<NamedTensor> PairLoss::buffers() const
{
    if (options_.memory == 0)
        return {};
    return {
        {"memory.embeddings", embeddings_}, {"memory.labels", labels_}, {"memory.state", state_}};
}

/* A file may have brought the numbers in. */
Ring PairLoss::ring() const
{
    const int64_t *const state = state_.data_ptr<int64_t>();
    const auto memory = static_cast<int64_t>(options_.memory);
    if (state[0] < 0 || state[0] > memory || state[1] < 0 || state[1] >= memory)
        fail(KD_DATA_LOSS,
            "the memory of embeddings holds %" PRId64 " of %" PRId64 " and goes on at %" PRId64,
            state[0], memory, state[1]);
    return {state[0], state[1]};
}

void PairLoss::need_room(int64_t n) const
{
    if (n > static_cast<int64_t>(options_.memory))
        fail(KD_INVALID_ARGUMENT,
            "the batch has %" PRId64 " images, more than the memory of %" PRIu32, n,
            options_.memory);
}

/* n places of the ring from one on. */
torch::Tensor places(int64_t from, int64_t n, int64_t memory)
{
    return torch::arange(from, from + n, torch::kLong).remainder(memory);
}

void PairLoss::remember(const torch::Tensor &embeddings, const uint32_t *labels)
{
    if (options_.memory == 0)
        return;
    torch::NoGradGuard no_grad;
    const int64_t n = embeddings.size(0);
    const auto memory = static_cast<int64_t>(options_.memory);
    need_room(n);
    const Ring now = ring();
    const torch::Tensor where = places(now.next, n, memory);
    embeddings_.index_copy_(0, sent(where, embeddings_), embeddings.detach().to(torch::kFloat));
    labels_.index_copy_(0, where, labels_tensor(labels, n));
    int64_t *const state = state_.data_ptr<int64_t>();
    state[0] = std::min(memory, now.count + n);
    state[1] = (now.next + n) % memory;
}

References PairLoss::references(const torch::Tensor &embeddings, const torch::Tensor &labels) const
{
    if (options_.memory == 0)
        return {embeddings, labels, 0};
    const int64_t n = embeddings.size(0);
    const auto memory = static_cast<int64_t>(options_.memory);
    need_room(n);
    const Ring now = ring();
    const int64_t kept = std::min(now.count, memory - n); /* the youngest: the batch goes over the
                                                           * others */
    const torch::Tensor where = places(now.next - kept + memory, kept, memory);
    return {
        torch::cat({embeddings_.index_select(0, sent(where, embeddings_)), embeddings.detach()}),
        torch::cat({labels_.index_select(0, where), labels}), kept};
}

/* ---- Which pairs there are ---- */

struct Masks {
    torch::Tensor positive, negative; /* n × m */
};

Masks make_masks(const torch::Tensor &labels, const References &references)
{
    const torch::Tensor same = labels.unsqueeze(1).eq(references.labels.unsqueeze(0));
    torch::Tensor positive = same.clone();
    positive.narrow(1, references.first, labels.size(0)).fill_diagonal_(false);
    return {positive, same.logical_not()};
}

void need_a_pair(const Masks &masks)
{
    if (!masks.positive.any().item<bool>() && !masks.negative.any().item<bool>())
        fail(KD_FAILED_PRECONDITION, "the batch has no two images to compare");
}

void need_a_triplet(const Masks &masks)
{
    if (!masks.positive.any(1).logical_and(masks.negative.any(1)).any().item<bool>())
        fail(KD_FAILED_PRECONDITION,
            "none of the batch's %" PRId64 " images has both another image of its class and one of "
            "another class",
            masks.positive.size(0));
}

/* ---- Contrastive and triplet ---- */

struct Terms {
    torch::Tensor loss, active; /* scalars */
    int64_t count;
};

/* Of the terms above 0 alone, or all where none is: that the others are 0 keeps a NaN in sight. */
Terms reduce(const torch::Tensor &terms, kd_reduction reduction)
{
    const torch::Tensor active = (terms.detach() > 0).sum();
    const torch::Tensor sum = terms.sum();
    const bool mean = reduction == KD_REDUCTION_MEAN;
    return {mean ? sum / active.clamp_min(1) : sum, active, terms.size(0)};
}

struct Chosen {
    torch::Tensor anchor, positive, negative; /* numbers of rows and columns, on the device */
};

torch::Tensor index_tensor(const std::vector<int64_t> &list, const torch::Tensor &like)
{
    return sent(torch::tensor(list, torch::kLong), like);
}

Chosen choose(const kd_loss_options &options, const torch::Tensor &distances,
    const torch::Tensor &embeddings, const torch::Tensor &labels, const References &references,
    uint64_t seed)
{
    MinedBatch batch = {};
    batch.n = labels.size(0);
    batch.m = references.labels.size(0);
    batch.first = references.first;
    batch.labels = labels.data_ptr<int64_t>();
    batch.reference_labels = references.labels.data_ptr<int64_t>();
    batch.margin = options.margin;
    batch.dim = embeddings.size(1);
    batch.seed = seed;
    torch::Tensor compared;
    if (options.miner == KD_MINER_DISTANCE_WEIGHTED) {
        torch::NoGradGuard no_grad;
        compared = euclidean(unit_rows(embeddings), unit_rows(references.embeddings));
    } else if (options.miner == KD_MINER_SEMI_HARD || options.miner == KD_MINER_BATCH_HARD) {
        compared = distances.detach();
    }
    if (compared.defined()) {
        compared = compared.to(torch::kCPU).contiguous();
        batch.distances = compared.data_ptr<float>();
    }
    const Triplets found = mine(options.miner, batch);
    return {index_tensor(found.anchor, distances), index_tensor(found.positive, distances),
        index_tensor(found.negative, distances)};
}

Terms triplet(const kd_loss_options &options, const torch::Tensor &distances, const Chosen &chosen)
{
    const torch::Tensor gap = distances.index({chosen.anchor, chosen.positive}) -
                              distances.index({chosen.anchor, chosen.negative});
    if (options.margin > 0)
        return reduce(torch::relu(gap + options.margin), options.reduction);
    return reduce(torch::softplus(gap), options.reduction);
}

Terms contrastive(
    const kd_loss_options &options, const torch::Tensor &positives, const torch::Tensor &negatives)
{
    const Terms pull = reduce(torch::relu(positives - options.positive_margin), options.reduction);
    const Terms push = reduce(torch::relu(options.margin - negatives), options.reduction);
    return {pull.loss + push.loss, pull.active + push.active, pull.count + push.count};
}

Terms terms_of(const kd_loss_options &options, const torch::Tensor &distances,
    const torch::Tensor &embeddings, const torch::Tensor &labels, const References &references,
    uint64_t seed)
{
    const Masks masks = make_masks(labels, references);
    if (options.loss == KD_LOSS_CONTRASTIVE && options.miner == KD_MINER_ALL) {
        need_a_pair(masks);
        return contrastive(
            options, selected(distances, masks.positive), selected(distances, masks.negative));
    }
    need_a_triplet(masks);
    const Chosen chosen = choose(options, distances, embeddings, labels, references, seed);
    if (options.loss == KD_LOSS_TRIPLET)
        return triplet(options, distances, chosen);
    return contrastive(options, distances.index({chosen.anchor, chosen.positive}),
        distances.index({chosen.anchor, chosen.negative}));
}

LossValue PairLoss::by_distance(const torch::Tensor &embeddings, const torch::Tensor &labels,
    const References &references, uint64_t seed) const
{
    const torch::Tensor a = options_.raw ? embeddings : unit_rows(embeddings);
    const torch::Tensor b = options_.raw ? references.embeddings : unit_rows(references.embeddings);
    const torch::Tensor distances =
        options_.distance == KD_DISTANCE_COSINE ? 1 - torch::linear(a, b) : euclidean(a, b);
    const Terms terms = terms_of(options_, distances, embeddings, labels, references, seed);
    /* Where nothing was chosen, the loss is 0 still for finite embeddings alone. */
    const torch::Tensor loss = terms.count > 0 ? terms.loss : (embeddings * 0).sum();
    const bool margin = options_.loss == KD_LOSS_CONTRASTIVE || options_.margin > 0;
    const torch::Tensor share = !margin           ? constant(1, loss)
                                : terms.count > 0 ? terms.active.to(torch::kFloat) / terms.count
                                                  : constant(0, loss);
    return {loss, share, constant(-1, loss),
        distances.detach().narrow(1, references.first, labels.size(0))};
}

/* ---- Multi-similarity and supervised contrastive ---- */

torch::Tensor multi_similarity(
    const kd_loss_options &options, const torch::Tensor &cosines, const Masks &masks)
{
    const torch::Tensor pull = log_one_plus_sum_exp(
        (options.margin - cosines) * options.positive_scale, masks.positive, 1);
    const torch::Tensor push =
        log_one_plus_sum_exp((cosines - options.margin) * options.scale, masks.negative, 1);
    return (pull / options.positive_scale + push / options.scale).mean();
}

/* Anchors without a positive count for nothing. */
torch::Tensor supervised_contrastive(
    const kd_loss_options &options, const torch::Tensor &cosines, const Masks &masks)
{
    const torch::Tensor scores = cosines * options.scale;
    const torch::Tensor compared = masks.positive.logical_or(masks.negative);
    const torch::Tensor all = torch::logsumexp(
        scores.masked_fill(compared.logical_not(), std::numeric_limits<float>::lowest()), 1, true);
    const torch::Tensor own =
        ((all - scores) * masks.positive).sum(1) / masks.positive.sum(1).clamp_min(1);
    return reduce(own, KD_REDUCTION_MEAN).loss;
}

LossValue PairLoss::by_similarity(const torch::Tensor &embeddings, const torch::Tensor &labels,
    const References &references) const
{
    Masks masks = make_masks(labels, references);
    const bool pairs = options_.loss == KD_LOSS_MULTI_SIMILARITY;
    if (pairs)
        need_a_pair(masks);
    else
        need_a_triplet(masks);
    masks = {sent(masks.positive, embeddings), sent(masks.negative, embeddings)};
    const torch::Tensor unit = unit_rows(embeddings);
    const torch::Tensor cosines = torch::linear(unit, unit_rows(references.embeddings));
    const torch::Tensor loss = pairs ? multi_similarity(options_, cosines, masks)
                                     : supervised_contrastive(options_, cosines, masks);
    torch::NoGradGuard no_grad;
    return {loss, constant(1, loss), constant(-1, loss), euclidean(unit, unit)};
}

LossValue PairLoss::evaluate(const torch::Tensor &embeddings, const uint32_t *labels, uint64_t seed)
{
    const torch::Tensor own = labels_tensor(labels, embeddings.size(0));
    if (embeddings.size(0) == 0)
        fail(KD_FAILED_PRECONDITION, "the batch has no images");
    const References compared = references(embeddings, own);
    if (options_.loss == KD_LOSS_CONTRASTIVE || options_.loss == KD_LOSS_TRIPLET)
        return by_distance(embeddings, own, compared, seed);
    return by_similarity(embeddings, own, compared);
}

} // namespace

std::unique_ptr<Loss> make_pair_loss(
    const kd_loss_options &options, int64_t dim, torch::Device device)
{
    return std::make_unique<PairLoss>(options, dim, device);
}

} // namespace kd::nn
