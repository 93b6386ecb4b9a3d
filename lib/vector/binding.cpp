#include "lib/vector/binding.h"

#include <exception>
#include <limits>
#include <new>

#include <omp.h>

#include <faiss/impl/IDSelector.h>
#include <faiss/Index.h>
#include <faiss/utils/distances.h>

kd_status kd_faiss_search(const FaissIndex *index, const float *query, size_t k,
    const uint8_t *mask, size_t mask_bytes, float *scores, int64_t *rows, kd_error *err)
try {
    const faiss::IDSelectorBitmap selector(mask_bytes, mask);
    faiss::SearchParameters parameters;
    parameters.sel = const_cast<faiss::IDSelectorBitmap *>(&selector);
    reinterpret_cast<const faiss::Index *>(index)->search(
        1, query, static_cast<int64_t>(k), scores, rows, mask ? &parameters : nullptr);
    return KD_OK;
} catch (const std::bad_alloc &) {
    return kd_error_memory(err, "a search");
} catch (const std::exception &fault) {
    return kd_error_set(err, KD_INTERNAL, "the vector index failed: %s", fault.what());
}

void kd_faiss_truncate(FaissIndex *index, size_t rows)
{
    auto *flat = reinterpret_cast<faiss::Index *>(index);
    flat->remove_ids(faiss::IDSelectorRange(static_cast<int64_t>(rows), flat->ntotal));
}

/* From this many results on FAISS collects them in a reservoir, which it allocates inside an OpenMP
 * region: an exception can't leave one. A heap lies in the caller's arrays; its few insertions are
 * nothing beside the inner products. */
void kd_faiss_setup(void)
{
    faiss::distance_compute_min_k_reservoir = std::numeric_limits<int>::max();
}

int kd_faiss_threads(int threads)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
}
