#include "lib/vector/binding.h"

#include <omp.h>

#include <faiss/impl/IDSelector.h>
#include <faiss/Index.h>

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
