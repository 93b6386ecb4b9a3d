/* Any bytes as the pickle in PyTorch's zip form, beside storages 0 (64 bytes), 1 (9 bytes) and 2
 * (empty), in an archive that is in order. */
#include "tests/fuzz/crc32.h"
#include "tests/fuzz/tensors.hpp"

namespace
{

void put(std::string *out, uint64_t number, size_t size)
{
    for (size_t i = 0; i < size; i++, number >>= 8)
        *out += static_cast<char>(number);
}

/* Stored entries, as in PKWARE's APPNOTE 4.3. */
class ZipText
{
  public:
    void add(const std::string &name, std::string_view content)
    {
        std::string head;        /* what local header and directory have in common */
        put(&head, 20, 2);       /* version */
        put(&head, 0, 2 + 2);    /* flags, stored */
        put(&head, 0x210000, 4); /* 1980-01-01 */
        put(&head, crc32_of(reinterpret_cast<const uint8_t *>(content.data()), content.size()), 4);
        put(&head, content.size(), 4);
        put(&head, content.size(), 4);
        put(&head, name.size(), 2);
        put(&head, 0, 2); /* extra */
        directory_ += "PK\x01\x02";
        put(&directory_, 20, 2);
        directory_ += head;
        put(&directory_, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
        put(&directory_, files_.size(), 4);
        directory_ += name;
        files_ += "PK\x03\x04" + head + name;
        files_ += content;
        n_++;
    }
    std::string finish() const
    {
        std::string end = "PK\x05\x06";
        put(&end, 0, 4);
        put(&end, n_, 2);
        put(&end, n_, 2);
        put(&end, directory_.size(), 4);
        put(&end, files_.size(), 4);
        put(&end, 0, 2);
        return files_ + directory_ + end;
    }

  private:
    std::string files_, directory_;
    uint64_t n_ = 0;
};

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    std::string storage;
    ZipText zip;
    for (char c = 0; c < 64; c++)
        storage += c;
    zip.add("x/data.pkl", {reinterpret_cast<const char *>(bytes), len});
    zip.add("x/data/0", storage);
    zip.add("x/data/1", std::string_view(storage).substr(0, 9));
    zip.add("x/data/2", "");
    look_at_pth(zip.finish());
    return 0;
}
