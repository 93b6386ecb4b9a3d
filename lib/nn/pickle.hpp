/* lib/nn/pickle.hpp: reads the part of Python's pickle language that a state dict is written in.
 *
 * Nothing is executed: a call in the pickle becomes a Value that says what was to be called with
 * which arguments, and whoever reads the result decides what it means. Opcodes and names outside a
 * short list are refused. All values live in the Pickle; they may refer to each other in circles.
 */
#ifndef KD_NN_PICKLE_HPP
#define KD_NN_PICKLE_HPP

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace kd::nn
{

struct Value {
    enum class Kind {
        none,
        boolean,    /* integer */
        integer,    /* integer */
        real,       /* (its number is not kept, no tensor needs it) */
        text,       /* text */
        global,     /* text: "torch.FloatStorage" */
        tuple,      /* items */
        list,       /* items */
        dict,       /* items: key, value, key, value … */
        call,       /* items: global, tuple of arguments */
        persistent, /* items: the id, which the container resolves */
    };
    Kind kind;
    int64_t integer = 0;
    std::string text;
    std::vector<const Value *> items; /* borrowed from the Pickle */

    bool is_global(std::string_view name) const
    {
        return kind == Kind::global && text == name;
    }
};

/* Owns the values of one pickle: one flat store, so that freeing a deep nest needs no stack. */
class Pickle
{
  public:
    /* Reads the whole of bytes; throws Fault. path is for sentences. */
    Pickle(const char *path, std::string_view bytes);
    Pickle(const Pickle &) = delete;
    Pickle &operator=(const Pickle &) = delete;
    const Value &top() const
    {
        return *top_;
    }

  private:
    friend class PickleReader;
    std::deque<Value> values_;
    const Value *top_ = nullptr;
};

} // namespace kd::nn

#endif
