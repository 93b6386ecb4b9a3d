#include "lib/nn/tensors.hpp"

#include <bit>
#include <cstring>

#include "lib/base/file.h"
#include "lib/nn/fault.hpp"

namespace kd::nn
{

/* Elements are taken from and put into files as they lie in memory. */
static_assert(std::endian::native == std::endian::little);

/* Ten times what ResNet18 with its optimiser state takes. */
static constexpr size_t max_file_bytes = size_t{1536} << 20;

size_t dtype_size(Dtype dtype)
{
    switch (dtype) {
    case Dtype::f64:
    case Dtype::i64:
        return 8;
    case Dtype::f32:
    case Dtype::i32:
        return 4;
    case Dtype::f16:
    case Dtype::bf16:
    case Dtype::i16:
        return 2;
    case Dtype::i8:
    case Dtype::u8:
    case Dtype::boolean:
        break;
    }
    return 1;
}

const char *dtype_name(Dtype dtype)
{
    static const char *const names[] = {
        "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"};
    return names[static_cast<size_t>(dtype)];
}

bool count_elements(const std::vector<int64_t> &shape, uint64_t *count)
{
    constexpr uint64_t limit = uint64_t{1} << 62;
    *count = 1;
    for (const int64_t size : shape) {
        if (size < 0)
            return false;
        if (size > 0 && *count > limit / static_cast<uint64_t>(size))
            return false;
        *count *= static_cast<uint64_t>(size);
    }
    return true;
}

std::string shape_text(const std::vector<int64_t> &shape)
{
    std::string text;
    for (const int64_t size : shape) {
        if (!text.empty())
            text += 'x';
        text += std::to_string(size);
    }
    return text.empty() ? "scalar" : text;
}

static bool is_row_major(const StoredTensor &tensor)
{
    int64_t expected = 1;
    for (size_t d = tensor.shape.size(); d-- > 0;) {
        if (tensor.shape[d] != 1 && tensor.strides[d] != expected)
            return false;
        expected *= tensor.shape[d];
    }
    return true;
}

void copy_elements(const StoredTensor &tensor, void *to)
{
    const size_t item = dtype_size(tensor.dtype);
    const size_t dims = tensor.shape.size();
    uint64_t count = 0;
    if (!count_elements(tensor.shape, &count) || count == 0)
        return;
    if (is_row_major(tensor)) {
        std::memcpy(to, tensor.data, count * item);
        return;
    }
    /* at counts through all positions like an odometer, the last size fastest. */
    std::vector<int64_t> at(dims, 0);
    int64_t offset = 0;
    auto *out = static_cast<uint8_t *>(to);
    for (uint64_t i = 0; i < count; i++, out += item) {
        std::memcpy(out, tensor.data + static_cast<size_t>(offset) * item, item);
        for (size_t d = dims; d-- > 0;) {
            if (tensor.shape[d] == 1) /* its stride may be any number, however large */
                continue;
            offset += tensor.strides[d];
            if (++at[d] < tensor.shape[d])
                break;
            offset -= tensor.strides[d] * tensor.shape[d];
            at[d] = 0;
        }
    }
}

const StoredTensor *TensorFile::find(std::string_view name) const
{
    for (const StoredTensor &tensor : tensors)
        if (tensor.name == name)
            return &tensor;
    return nullptr;
}

static void read_bytes(const char *path, std::string *out)
{
    kd_error error = KD_ERROR_INIT;
    kd_buf buf = KD_BUF_INIT;
    const kd_status status = kd_file_read(path, max_file_bytes, &buf, &error);
    try {
        check(status, error);
        out->assign(reinterpret_cast<const char *>(buf.data), buf.len);
    } catch (...) {
        kd_buf_free(&buf);
        throw;
    }
    kd_buf_free(&buf);
}

void read_tensor_file(const char *path, TensorFile *out)
{
    using namespace std::string_view_literals;
    read_bytes(path, &out->bytes);
    const std::string_view bytes = out->bytes;
    if (bytes.empty())
        fail(KD_DATA_LOSS, "%s is empty", path);
    if (bytes.starts_with("PK\x03\x04"sv)) {
        parse_pth(path, out);
        return;
    }
    /* Protocol 2 and the ten bytes of the magic number that PyTorch before 1.6 began with. */
    if (bytes.starts_with("\x80\x02\x8a\x0a"sv))
        fail(KD_INVALID_ARGUMENT,
            "%s has the form that PyTorch wrote before 1.6; save it anew with a current PyTorch: "
            "torch.save(torch.load(path, weights_only=True), path)",
            path);
    parse_safetensors(path, out);
}

} // namespace kd::nn
