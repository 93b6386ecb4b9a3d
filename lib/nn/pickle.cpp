#include "lib/nn/pickle.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <unordered_map>

#include "lib/nn/fault.hpp"

namespace kd::nn
{

namespace
{

/* The opcodes of protocol 2 that torch.save writes for a state dict. */
enum Opcode : uint8_t {
    op_mark = '(',
    op_stop = '.',
    op_binint = 'J',
    op_binint1 = 'K',
    op_binint2 = 'M',
    op_none = 'N',
    op_binpersid = 'Q',
    op_reduce = 'R',
    op_binunicode = 'X',
    op_append = 'a',
    op_build = 'b',
    op_global = 'c',
    op_appends = 'e',
    op_binget = 'h',
    op_long_binget = 'j',
    op_binput = 'q',
    op_long_binput = 'r',
    op_setitem = 's',
    op_tuple = 't',
    op_setitems = 'u',
    op_binfloat = 'G',
    op_empty_list = ']',
    op_empty_tuple = ')',
    op_empty_dict = '}',
    op_proto = 0x80,
    op_tuple1 = 0x85,
    op_tuple2 = 0x86,
    op_tuple3 = 0x87,
    op_newtrue = 0x88,
    op_newfalse = 0x89,
    op_long1 = 0x8a,
};

constexpr std::string_view ordered_dict = "collections.OrderedDict";

bool is_allowed_global(std::string_view name)
{
    static constexpr std::string_view allowed[] = {ordered_dict, "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter", "torch.DoubleStorage", "torch.FloatStorage",
        "torch.HalfStorage", "torch.BFloat16Storage", "torch.LongStorage", "torch.IntStorage",
        "torch.ShortStorage", "torch.CharStorage", "torch.ByteStorage", "torch.BoolStorage"};
    return std::find(std::begin(allowed), std::end(allowed), name) != std::end(allowed);
}

} // namespace

class PickleReader
{
  public:
    PickleReader(const char *path, std::string_view bytes, Pickle *pickle)
        : path_(path), bytes_(bytes), pickle_(pickle)
    {
    }
    void run()
    {
        while (step()) {}
    }

  private:
    /* ---- Bytes ---- */
    std::string_view take(size_t n)
    {
        if (n > bytes_.size() - at_)
            fail(KD_DATA_LOSS, "%s: its pickle is cut off at byte %zu", path_, at_);
        const std::string_view part = bytes_.substr(at_, n);
        at_ += n;
        return part;
    }
    /* A little-endian number of n bytes, at most 8. */
    uint64_t take_number(size_t n)
    {
        uint64_t number = 0;
        const std::string_view part = take(n);
        std::memcpy(&number, part.data(), n);
        return number;
    }
    std::string_view take_line()
    {
        const size_t end = bytes_.find('\n', at_);
        if (end == std::string_view::npos)
            fail(KD_DATA_LOSS, "%s: its pickle is cut off at byte %zu", path_, at_);
        const std::string_view line = take(end - at_);
        (void)take(1);
        return line;
    }

    /* ---- Stack ---- */
    Value *make(Value::Kind kind)
    {
        Value &value = pickle_->values_.emplace_back();
        value.kind = kind;
        return &value;
    }
    void push(Value *value)
    {
        stack_.push_back(value);
    }
    void push_integer(Value::Kind kind, int64_t number)
    {
        Value *const value = make(kind);
        value->integer = number;
        push(value);
    }
    /* What lies above the last mark stays; below it nothing may be taken. */
    size_t floor() const
    {
        return marks_.empty() ? 0 : marks_.back();
    }
    Value *pop()
    {
        if (stack_.size() <= floor())
            bad("takes from an empty stack");
        Value *const value = stack_.back();
        stack_.pop_back();
        return value;
    }
    Value *peek(Value::Kind kind)
    {
        if (stack_.size() <= floor() || stack_.back()->kind != kind)
            bad("puts an item where none can be");
        return stack_.back();
    }
    std::vector<const Value *> pop_to_mark()
    {
        if (marks_.empty())
            bad("has no mark where it needs one");
        const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
        std::vector<const Value *> items(from, stack_.end());
        stack_.erase(from, stack_.end());
        marks_.pop_back();
        return items;
    }
    [[noreturn]] void bad(const char *what) const
    {
        fail(KD_INVALID_ARGUMENT, "%s: its pickle is malformed: byte %zu %s", path_, at_ - 1, what);
    }

    /* ---- Opcodes ---- */
    void global()
    {
        const std::string module(take_line());
        const std::string name = module + "." + std::string(take_line());
        if (!is_allowed_global(name))
            fail(KD_INVALID_ARGUMENT,
                "%s refers to %.120s, which a plain state dict of tensors does not need; nothing "
                "of "
                "it was run",
                path_, name.c_str());
        Value *const value = make(Value::Kind::global);
        value->text = name;
        push(value);
    }
    void tuple_of(size_t n)
    {
        Value *const tuple = make(Value::Kind::tuple);
        tuple->items.resize(n);
        while (n-- > 0)
            tuple->items[n] = pop();
        push(tuple);
    }
    void reduce()
    {
        const Value *const arguments = pop();
        const Value *const callee = pop();
        if (callee->kind != Value::Kind::global || arguments->kind != Value::Kind::tuple)
            bad("calls something that is no function");
        if (callee->is_global(ordered_dict)) {
            if (!arguments->items.empty())
                bad("fills an OrderedDict in an unknown way");
            push(make(Value::Kind::dict));
            return;
        }
        Value *const call = make(Value::Kind::call);
        call->items = {callee, arguments};
        push(call);
    }
    /* A state dict carries _metadata (versions of its modules) as an attribute: dropped. */
    void build()
    {
        (void)pop();
        (void)peek(Value::Kind::dict);
    }
    void set_items(const std::vector<const Value *> &items)
    {
        Value *const dict = peek(Value::Kind::dict);
        if (items.size() % 2 != 0)
            bad("has a key without a value");
        dict->items.insert(dict->items.end(), items.begin(), items.end());
    }
    void append_items(const std::vector<const Value *> &items)
    {
        Value *const list = peek(Value::Kind::list);
        list->items.insert(list->items.end(), items.begin(), items.end());
    }
    void put(uint64_t key)
    {
        if (stack_.size() <= floor())
            bad("remembers a value that is not there");
        memo_[key] = stack_.back();
    }
    void get(uint64_t key)
    {
        const auto found = memo_.find(key);
        if (found == memo_.end())
            bad("recalls a value that it never stored");
        push(found->second);
    }
    void text()
    {
        Value *const value = make(Value::Kind::text);
        value->text = take(take_number(4));
        push(value);
    }
    void long1()
    {
        const size_t n = take_number(1);
        if (n > 8)
            bad("holds a number of more than 64 bits");
        uint64_t number = take_number(n);
        if (n > 0 && n < 8 && (number >> (8 * n - 1)) != 0)
            number |= ~uint64_t{0} << (8 * n); /* two's complement */
        push_integer(Value::Kind::integer, static_cast<int64_t>(number));
    }
    void persistent()
    {
        const Value *const id = pop();
        Value *const value = make(Value::Kind::persistent);
        value->items = {id};
        push(value);
    }
    bool stop()
    {
        pickle_->top_ = pop();
        return false;
    }

    /* Values that stand on their own. True when op was one. */
    bool literal(uint8_t op)
    {
        switch (op) {
        case op_none:
            push(make(Value::Kind::none));
            return true;
        case op_newtrue:
        case op_newfalse:
            push_integer(Value::Kind::boolean, op == op_newtrue);
            return true;
        case op_binint:
            push_integer(Value::Kind::integer, static_cast<int32_t>(take_number(4)));
            return true;
        case op_binint1:
            push_integer(Value::Kind::integer, static_cast<int64_t>(take_number(1)));
            return true;
        case op_binint2:
            push_integer(Value::Kind::integer, static_cast<int64_t>(take_number(2)));
            return true;
        case op_long1:
            long1();
            return true;
        case op_binfloat:
            (void)take(8);
            push(make(Value::Kind::real));
            return true;
        case op_binunicode:
            text();
            return true;
        case op_global:
            global();
            return true;
        case op_empty_dict:
            push(make(Value::Kind::dict));
            return true;
        case op_empty_list:
            push(make(Value::Kind::list));
            return true;
        default:
            return false;
        }
    }
    /* Values made of those before them. True when op was one. */
    bool compound(uint8_t op)
    {
        switch (op) {
        case op_empty_tuple:
            tuple_of(0);
            return true;
        case op_tuple1:
        case op_tuple2:
        case op_tuple3:
            tuple_of(op - op_tuple1 + 1u);
            return true;
        case op_tuple: {
            Value *const tuple = make(Value::Kind::tuple);
            tuple->items = pop_to_mark();
            push(tuple);
            return true;
        }
        case op_append:
            append_items({pop()});
            return true;
        case op_appends:
            append_items(pop_to_mark());
            return true;
        case op_setitem: {
            const Value *const value = pop();
            const Value *const key = pop();
            set_items({key, value});
            return true;
        }
        case op_setitems:
            set_items(pop_to_mark());
            return true;
        case op_reduce:
            reduce();
            return true;
        case op_build:
            build();
            return true;
        case op_binpersid:
            persistent();
            return true;
        default:
            return false;
        }
    }
    /* One opcode; false after the last. */
    bool step()
    {
        const auto op = static_cast<uint8_t>(take_number(1));
        switch (op) {
        case op_proto:
            (void)take(1);
            return true;
        case op_stop:
            return stop();
        case op_mark:
            marks_.push_back(stack_.size());
            return true;
        case op_binput:
            put(take_number(1));
            return true;
        case op_long_binput:
            put(take_number(4));
            return true;
        case op_binget:
            get(take_number(1));
            return true;
        case op_long_binget:
            get(take_number(4));
            return true;
        default:
            if (!literal(op) && !compound(op))
                fail(KD_INVALID_ARGUMENT,
                    "%s: its pickle uses opcode 0x%02x at byte %zu, which a state dict of tensors "
                    "does not need; nothing of it was run",
                    path_, op, at_ - 1);
            return true;
        }
    }

    const char *path_;
    std::string_view bytes_;
    Pickle *pickle_;
    size_t at_ = 0;
    std::vector<Value *> stack_;
    std::vector<size_t> marks_; /* how high the stack was at each mark */
    std::unordered_map<uint64_t, Value *> memo_;
};

Pickle::Pickle(const char *path, std::string_view bytes)
{
    PickleReader(path, bytes, this).run();
}

} // namespace kd::nn
