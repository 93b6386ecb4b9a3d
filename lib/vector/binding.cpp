#include "lib/vector/binding.h"

#include <exception>

#include <omp.h>

#include <faiss/impl/IDSelector.h>
#include <faiss/Index.h>

#include "lib/base/buf.h"

bool kd_faiss_search_masked(const FaissIndex *index, const float *query, size_t k,
    const uint8_t *mask, size_t mask_bytes, float *scores, int64_t *rows, char *why,
    size_t why_size)
try {
    const faiss::IDSelectorBitmap selector(mask_bytes, mask);
    faiss::SearchParameters parameters;
    parameters.sel = const_cast<faiss::IDSelectorBitmap *>(&selector);
    reinterpret_cast<const faiss::Index *>(index)->search(
        1, query, static_cast<int64_t>(k), scores, rows, &parameters);
    return true;
} catch (const std::exception &fault) {
    (void)kd_copy(why, why_size, fault.what());
    return false;
}

void kd_faiss_truncate(FaissIndex *index, size_t rows)
{
    auto *flat = reinterpret_cast<faiss::Index *>(index);
    flat->remove_ids(faiss::IDSelectorRange(static_cast<int64_t>(rows), flat->ntotal));
}

int kd_faiss_threads(int threads)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
}
