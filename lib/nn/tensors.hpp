/* lib/nn/tensors.hpp: named tensors in files, free of LibTorch (which takes long to compile).
 *
 * Both readers check everything that a file claims before they hand out a view, so that what is in
 * a TensorFile may be read without further checks. They throw Fault. */
#ifndef KD_NN_TENSORS_HPP
#define KD_NN_TENSORS_HPP

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kd::nn
{

enum class Dtype { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };

size_t dtype_size(Dtype dtype);      /* bytes of one element */
const char *dtype_name(Dtype dtype); /* as safetensors writes it: "F32" */

/* The product of the sizes, or false when one is negative or it passes 2^62. */
bool count_elements(const std::vector<int64_t> &shape, uint64_t *count);
std::string shape_text(const std::vector<int64_t> &shape); /* "64x3x7x7", "scalar" */

struct StoredTensor {
    std::string name;
    Dtype dtype;
    std::vector<int64_t> shape;
    std::vector<int64_t> strides; /* in elements, as many as sizes */
    const uint8_t *data;          /* borrowed from the TensorFile, at any alignment */
};

/* Writes the elements in row-major order; to has room for all of them. */
void copy_elements(const StoredTensor &tensor, void *to);

struct TensorFile {
    std::vector<StoredTensor> tensors; /* names differ */
    std::map<std::string, std::string> metadata;
    std::string bytes;                 /* the file; views point into it … */
    std::vector<std::string> storages; /* … or, for the zip form, into these */

    const StoredTensor *find(std::string_view name) const; /* NULL when absent */
    TensorFile() = default;
    TensorFile(const TensorFile &) = delete; /* views would point into the other one */
    TensorFile &operator=(const TensorFile &) = delete;
};

/* Reads either form, told apart by content. Fills *out, which must be fresh. */
void read_tensor_file(const char *path, TensorFile *out);

/* The parsers behind it; out->bytes holds the file, path is for sentences. */
void parse_safetensors(const char *path, TensorFile *out);
void parse_pth(const char *path, TensorFile *out);

struct TensorToWrite {
    std::string name;
    Dtype dtype;
    std::vector<int64_t> shape;
    const void *data; /* row-major, borrowed */
};

/* Both give the same bytes for the same tensors and metadata, in order of name. */
std::string format_safetensors(
    std::vector<TensorToWrite> tensors, const std::map<std::string, std::string> &metadata);
std::string format_pth(std::vector<TensorToWrite> tensors);

} // namespace kd::nn

#endif
