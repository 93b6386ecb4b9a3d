/* C++'s operators new and delete, over tests/support/alloc.h: for a test whose static libraries
 * hold C++. The aligned forms are left to the library: they ask aligned_alloc, which is not
 * counted. */
#include <cstdlib>
#include <new>

#include "tests/support/alloc.h"

void *operator new(std::size_t size)
{
    if (void *block = alloc_malloc(size ? size : 1))
        return block;
    throw std::bad_alloc();
}

void *operator new[](std::size_t size)
{
    return operator new(size);
}

void *operator new(std::size_t size, const std::nothrow_t &) noexcept
{
    return alloc_malloc(size ? size : 1);
}

void *operator new[](std::size_t size, const std::nothrow_t &) noexcept
{
    return alloc_malloc(size ? size : 1);
}

void operator delete(void *block) noexcept
{
    alloc_free(block);
}

void operator delete[](void *block) noexcept
{
    alloc_free(block);
}

void operator delete(void *block, std::size_t) noexcept
{
    alloc_free(block);
}

void operator delete[](void *block, std::size_t) noexcept
{
    alloc_free(block);
}
