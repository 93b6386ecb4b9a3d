#include "lib/vector/slots.h"

#include <assert.h>
#include <stdlib.h>

/* splitmix64's finish: ids often count upwards, and linear probing needs them spread. */
static size_t home(const kd_slots *table, uint64_t id)
{
    id ^= id >> 30;
    id *= 0xbf58476d1ce4e5b9u;
    id ^= id >> 27;
    id *= 0x94d049bb133111ebu;
    id ^= id >> 31;
    return (size_t)id & (table->room - 1);
}

/* Where id is, or the free place where it would go. */
static size_t place(const kd_slots *table, uint64_t id)
{
    size_t at = home(table, id);
    while (table->slots[at] != KD_SLOT_NONE && table->ids[at] != id)
        at = (at + 1) & (table->room - 1);
    return at;
}

void kd_slots_free(kd_slots *table)
{
    free(table->ids);
    free(table->slots);
    *table = (kd_slots){0};
}

kd_status kd_slots_reserve(kd_slots *table, size_t more, kd_error *err)
{
    const size_t want = table->n + more;
    size_t room = table->room ? table->room : 64;
    while (room / 4 * 3 < want)
        room *= 2;
    if (room == table->room)
        return KD_OK;
    kd_slots grown = {calloc(room, sizeof(uint64_t)), malloc(room * sizeof(uint32_t)), room, 0};
    if (!grown.ids || !grown.slots) {
        kd_slots_free(&grown);
        return kd_error_memory(err, "the index's table of ids");
    }
    for (size_t i = 0; i < room; i++)
        grown.slots[i] = KD_SLOT_NONE;
    for (size_t i = 0; i < table->room; i++)
        if (table->slots[i] != KD_SLOT_NONE)
            kd_slots_put(&grown, table->ids[i], table->slots[i]);
    kd_slots_free(table);
    *table = grown;
    return KD_OK;
}

void kd_slots_put(kd_slots *table, uint64_t id, uint32_t slot)
{
    assert(table->room && slot != KD_SLOT_NONE);
    const size_t at = place(table, id);
    if (table->slots[at] == KD_SLOT_NONE)
        table->n++;
    table->ids[at] = id;
    table->slots[at] = slot;
}

uint32_t kd_slots_get(const kd_slots *table, uint64_t id)
{
    return table->room ? table->slots[place(table, id)] : KD_SLOT_NONE;
}

uint32_t kd_slots_take(kd_slots *table, uint64_t id)
{
    if (!table->room)
        return KD_SLOT_NONE;
    size_t gap = place(table, id);
    const uint32_t slot = table->slots[gap];
    if (slot == KD_SLOT_NONE)
        return KD_SLOT_NONE;
    /* Entries behind the gap move up, unless that would put them before their home. */
    const size_t mask = table->room - 1;
    for (size_t at = (gap + 1) & mask; table->slots[at] != KD_SLOT_NONE; at = (at + 1) & mask) {
        if (((at - home(table, table->ids[at])) & mask) < ((at - gap) & mask))
            continue;
        table->ids[gap] = table->ids[at];
        table->slots[gap] = table->slots[at];
        gap = at;
    }
    table->slots[gap] = KD_SLOT_NONE;
    table->n--;
    return slot;
}
