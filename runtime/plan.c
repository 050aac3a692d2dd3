/* SPDX-License-Identifier: Apache-2.0 */

/* Plans: the choice of kernels, their pipelines, and the places of everything a step writes. */

#include "plan.h"

#include "error.h"
#include "kernel_table.h"
#include "kv_format.h"
#include "select_tuned.h"

#include <stdio.h>
#include <string.h>

#define MAX_TABLE_BYTES (1ull << 32) /* of a slot: word offsets are 32-bit, with room to spare */
#define MAX_WORKSPACE_BYTES (1ull << 34) /* words of 32 bits, addressed in 32 bits */

/* --------------------------------------------------------------------------------------- choice */

static const struct rapt_kernel_choice *choice_of(const struct rapt_selection *selection,
                                                  enum plan_pipeline i)
{
    switch (i) {
    case PLAN_PREFILL:
        return &selection->prefill;
    case PLAN_DECODE:
        return &selection->decode;
    case PLAN_MERGE:
        return &selection->merge;
    case PLAN_STAGE:
        return &selection->stage;
    case PLAN_LISTS:
        return &selection->lists;
    case PLAN_FEW:
        return &selection->few;
    default:
        return &selection->reduce;
    }
}

static rapt_status choose(const rapt_caps *caps, const rapt_plan_params *params, int force_prefill,
                          int force_decode, struct rapt_selection *out_selection)
{
    struct rapt_select_request request;
    rapt_plan_request(params, &request);
    request.force_prefill = force_prefill;
    request.force_decode = force_decode;
    rapt_status status = rapt_select(caps, &request, out_selection);
    if (status == RAPT_OK && rapt_rotate_q_is_used(params, out_selection)) {
        request.features &= ~RAPT_FEAT_ROPE_Q; /* these kernels find Q rotated, as f32 */
        request.q_type = RAPT_TYPE_F32;
        status = rapt_select(caps, &request, out_selection);
    }
    if (status != RAPT_OK)
        return status;
    if (!(params->flags & RAPT_PLAN_MAX_LOGIT_REDUCED))
        out_selection->reduce.kernel = -1;
    out_selection->lists.kernel = -1;
    if (params->flags & RAPT_PLAN_TOKEN_LISTS)
        status = rapt_select_token_lists(caps, &request, &out_selection->lists);
    if (status != RAPT_OK)
        return status;
    if (params->fixed_split > out_selection->max_keys_per_item)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "fixed_split is %u: no item may have more than %u keys "
                         "(max_keys_per_item)",
                         params->fixed_split, out_selection->max_keys_per_item);
    return RAPT_OK;
}

static void describe(const struct rapt_selection *selection, int append, const char *why,
                     rapt_plan_info *out_info)
{
    const struct rapt_kernel_choice *prefill =
        selection->prefill.kernel >= 0 ? &selection->prefill : &selection->decode;
    rapt_plan_info info = {
        .struct_size = sizeof info,
        .prefill_kernel = rapt_kernel_name(selection->prefill.kernel),
        .decode_kernel = rapt_kernel_name(selection->decode.kernel),
        .merge_kernel = rapt_kernel_name(selection->merge.kernel),
        .stage_kernel = rapt_kernel_name(selection->stage.kernel),
        .path = selection->cpu       ? "cpu"
                : selection->matrix2 ? "coopmat2"
                : selection->matrix  ? "coopmat"
                                     : "portable",
        .why = why,
        .block_q = prefill->rows,
        .block_kv = prefill->block_kv,
        .decode_rows = selection->decode_rows,
        .shared_memory_bytes = prefill->shared_bytes > selection->decode.shared_bytes
                                   ? prefill->shared_bytes
                                   : selection->decode.shared_bytes,
        .workgroup_size = prefill->workgroup_size,
        .append_kernel = rapt_kernel_name(append),
        .integer_dot = selection->integer_dot,
        .matrix_units = selection->matrix,
        .n_prefill_tiles = selection->prefill_tile.n,
        .n_decode_tiles = selection->decode_tile.n,
        .prefill_tile_from = selection->prefill_tile.from,
        .decode_tile_from = selection->decode_tile.from,
        .few_rows_kernel = rapt_kernel_name(selection->few.kernel),
        .few_rows_least = selection->few_least,
        .few_rows_most = selection->few_most,
        .n_few_rows_tiles = selection->few_tile.n,
        .few_rows_tile_from = selection->few_tile.from,
    };
    if (selection->prefill.kernel >= 0)
        rapt_select_tile_numbers(&selection->prefill, info.prefill_tile);
    if (selection->decode.kernel >= 0)
        rapt_select_tile_numbers(&selection->decode, info.decode_tile);
    if (selection->few.kernel >= 0)
        rapt_select_tile_numbers(&selection->few, info.few_rows_tile);
    rapt_params_write(out_info, &info, sizeof info);
}

rapt_status rapt_plan_explain(const rapt_caps *caps, const rapt_plan_params *params, char *why,
                              size_t why_bytes, rapt_plan_info *out_info)
{
    if (!caps || !out_info || (!why && why_bytes))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !caps       ? "caps"
                         : !out_info ? "out_info"
                                     : "why");
    rapt_plan_params checked;
    struct rapt_selection selection;
    struct rapt_kernel_choice append = {.kernel = -1};
    rapt_status status = rapt_plan_params_check(params, &checked);
    if (status == RAPT_OK)
        status = choose(caps, &checked, 0, 0, &selection);
    if (status == RAPT_OK && (checked.flags & RAPT_PLAN_APPEND))
        status = rapt_select_append(caps, &checked, 0, &append);
    if (status != RAPT_OK)
        return status;
    if (why_bytes)
        snprintf(why, why_bytes, "%s", selection.why);
    describe(&selection, append.kernel, why_bytes ? why : NULL, out_info);
    return RAPT_OK;
}

void rapt_plan_get_info(const rapt_plan *plan, rapt_plan_info *out_info)
{
    if (plan && out_info)
        describe(&plan->selection, plan->append.choice.kernel, plan->selection.why, out_info);
}

/* --------------------------------------------------------------------------------------- places */

static uint64_t align_up(uint64_t x, uint64_t alignment)
{
    return (x + alignment - 1) / alignment * alignment;
}

static rapt_status place_tables(rapt_plan *plan)
{
    const rapt_plan_params *p = &plan->params;
    const struct rapt_work_bounds *bounds = &plan->bounds;
    struct rapt_plan_places *places = &plan->places;
    uint64_t words = RAPT_STEP_HEADER_WORDS;
    const struct {
        uint32_t *place;
        uint64_t n, size;
    } tables[] = {
        {&places->seqs, p->max_batch, RAPT_STEP_SEQ_WORDS},
        {&places->items, bounds->items, RAPT_STEP_ITEM_WORDS},
        {&places->merges, bounds->merges, RAPT_STEP_MERGE_WORDS},
        {&places->stages, bounds->stages, RAPT_STEP_STAGE_WORDS},
        {&places->q_pos, p->max_total_q, 1},
        {&places->pages, p->flags & RAPT_PLAN_PAGED ? p->max_pages : 0, 1},
        {&places->rope, rapt_rotation_words(p), 1},
        {&places->rope_pos, rapt_rotation_pos_words(p), 1},
        {&places->q_bases, plan->rotates_first ? rapt_rotate_q_step_words(p) : 0, 1},
        {&places->spans, p->max_spans, RAPT_STEP_SPAN_WORDS},
        {&places->bits, p->max_bit_words, 1},
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        *tables[i].place = (uint32_t)words;
        words += align_up(tables[i].n * tables[i].size, 4);
        if (words * 4 > MAX_TABLE_BYTES)
            return rapt_fail(
                RAPT_ERROR_ARGUMENT,
                "the capacities need more than %llu bytes of tables per step: lower "
                "max_batch, max_total_q, max_pages, max_kv_len, max_work_items, max_spans "
                "or max_bit_words",
                MAX_TABLE_BYTES);
    }
    places->slot_bytes = align_up(words * 4, places->alignment);
    places->table_bytes = places->slot_bytes * p->n_steps_in_flight;
    return RAPT_OK;
}

/* Of K's or V's part of the staging slice; head dims are multiples of 8. */
static uint64_t stage_words(const rapt_plan *plan, uint32_t dims)
{
    uint64_t elements = (uint64_t)plan->selection.stage_rows * dims;
    return align_up(elements * plan->selection.stage_unit / 4, 64);
}

static uint64_t workspace_words(const rapt_plan *plan, uint64_t partial_rows)
{
    const rapt_plan_params *p = &plan->params;
    uint64_t words = align_up(partial_rows * p->head_dim_v, 64) + align_up(partial_rows * 2, 64);
    if (plan->selection.staged)
        words += stage_words(plan, p->head_dim) + stage_words(plan, p->head_dim_v);
    if (plan->rotates_first)
        words += align_up(rapt_rotate_q_words(p), 64);
    return words;
}

/* Whether some kernel finds the workspace by descriptor: beside attention by address, the merge
 * does. */
static int binds_workspace(const rapt_plan *plan)
{
    for (int i = 0; i < PLAN_N_PIPELINES; i++) {
        int kernel = choice_of(&plan->selection, i)->kernel;
        if (kernel >= 0 && rapt_kernel_bindings(kernel) & 1u << RAPT_BIND_WORK)
            return 1;
    }
    return 0;
}

static rapt_status place_workspace(rapt_plan *plan)
{
    const rapt_plan_params *p = &plan->params;
    struct rapt_plan_places *places = &plan->places;
    uint64_t most = MAX_WORKSPACE_BYTES, bound = MAX_WORKSPACE_BYTES;
    uint64_t range = plan->device->caps.max_storage_buffer_range;
    if (plan->narrow && range < most)
        most = range;
    if (binds_workspace(plan) && range < bound)
        bound = range;
    if (!p->max_partial_rows && workspace_words(plan, plan->bounds.partial_rows) * 4 > bound) {
        /* Splitting adapts to what there is: prepare falls back to fewer parts. */
        uint64_t rest = workspace_words(plan, 0) * 4 + 1024;
        uint64_t fit = bound > rest ? (bound - rest) / 4 / (p->head_dim_v + 2) : 0;
        plan->bounds.partial_rows = (uint32_t)fit;
    }
    uint64_t bytes = workspace_words(plan, plan->bounds.partial_rows) * 4;
    if (bytes > most)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "the workspace would take %llu bytes, more than the %llu that kernels "
                         "can reach: lower max_partial_rows",
                         (unsigned long long)bytes, (unsigned long long)most);
    places->partial_o = 0;
    places->partial_ml =
        (uint32_t)align_up((uint64_t)plan->bounds.partial_rows * p->head_dim_v, 64);
    places->stage_k =
        places->partial_ml + (uint32_t)align_up((uint64_t)plan->bounds.partial_rows * 2, 64);
    places->stage_v =
        places->stage_k + (plan->selection.staged ? (uint32_t)stage_words(plan, p->head_dim) : 0);
    places->rotated_q =
        places->stage_v + (plan->selection.staged ? (uint32_t)stage_words(plan, p->head_dim_v) : 0);
    places->workspace_bytes = align_up(bytes ? bytes : 4, places->alignment);
    return RAPT_OK;
}

static rapt_status place_all(rapt_plan *plan)
{
    const rapt_plan_params *p = &plan->params;
    uint32_t alignment = plan->device->caps.storage_buffer_alignment;
    plan->places.alignment = alignment > 64 ? alignment : 64;
    rapt_work_bound(&plan->work, p->max_batch, p->max_total_q, p->max_kv_len, &plan->bounds);
    const struct rapt_work_bounds *bounds = &plan->bounds;
    if (bounds->items == UINT32_MAX || bounds->merges == UINT32_MAX ||
        bounds->stages == UINT32_MAX || bounds->rounds == UINT32_MAX ||
        bounds->partial_rows == UINT32_MAX) /* then a step could count past 32 bits */
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "a step within max_total_q %u and max_kv_len %u could need 2^32 work "
                         "items or partial rows: lower them, or raise fixed_split or "
                         "max_keys_per_item",
                         p->max_total_q, p->max_kv_len);
    if (p->max_work_items)
        plan->bounds.items = p->max_work_items;
    if (p->max_partial_rows)
        plan->bounds.partial_rows = p->max_partial_rows;
    rapt_status status = place_tables(plan);
    if (status == RAPT_OK)
        status = place_workspace(plan);
    return status;
}

void rapt_plan_sizes(const rapt_plan *plan, rapt_plan_sizes_info *out_sizes)
{
    if (!plan || !out_sizes)
        return;
    rapt_plan_sizes_info sizes = {
        .struct_size = sizeof sizes,
        .table_bytes = plan->places.table_bytes,
        .workspace_bytes = plan->places.workspace_bytes,
        .table_alignment = plan->places.alignment,
        .workspace_alignment = plan->places.alignment,
        .max_work_items = plan->bounds.items,
        .max_partial_rows = plan->bounds.partial_rows,
        .n_slots = plan->params.n_steps_in_flight,
    };
    rapt_params_write(out_sizes, &sizes, sizeof sizes);
}

/* ------------------------------------------------------------------------------------- creation */

static uint32_t bindings_of(const rapt_plan *plan, int pipeline)
{
    int kernel = choice_of(&plan->selection, pipeline)->kernel;
    return kernel >= 0 ? rapt_kernel_bindings(kernel) : 0;
}

/* What the kernels that take turns in a step's rounds bind between them: with that in all their
 * layouts a record binds its buffers once, however many rounds it has. 0 where the device has no
 * room for it. */
static uint32_t shared_bindings(const rapt_plan *plan)
{
    uint32_t all = bindings_of(plan, PLAN_PREFILL) | bindings_of(plan, PLAN_STAGE) |
                   bindings_of(plan, PLAN_DECODE) | bindings_of(plan, PLAN_FEW);
    uint32_t n = 0;
    for (uint32_t bits = all; bits; bits &= bits - 1)
        n++;
    return n <= plan->device->caps.max_storage_buffers ? all : 0;
}

static rapt_status create_pipelines(rapt_plan *plan)
{
    struct rapt_pipeline *pipelines[PLAN_N_PIPELINES] = {0};
    /* scales are told by descriptor and by address in the same words */
    int mixed = plan->narrow && plan->wide &&
                rapt_kv_row_scales(plan->params.kv_type, plan->params.head_dim);
    uint32_t shared = mixed ? 0 : shared_bindings(plan), leader = PLAN_N_PIPELINES;
    for (uint32_t i = 0; i < PLAN_N_PIPELINES; i++) {
        const struct rapt_kernel_choice *choice = choice_of(&plan->selection, (int)i);
        plan->bound_with[i] = i;
        if (choice->kernel < 0)
            continue;
        /* the reduction's output is another buffer */
        int shares = i != PLAN_REDUCE && (bindings_of(plan, (int)i) & ~shared) == 0;
        /* staged prefill comes in rounds, each with two dispatches */
        int bases = plan->selection.staged && (i == PLAN_PREFILL || i == PLAN_STAGE);
        rapt_status status =
            rapt_pipeline_create_sharing(plan->device, choice, rapt_kernel_name(choice->kernel),
                                         shares ? shared : 0, bases, &plan->pipelines[i]);
        if (status != RAPT_OK)
            return status;
        if (shares && shared) {
            leader = leader < i ? leader : i;
            plan->bound_with[i] = leader;
        }
        if (plan->bound_with[i] == i)
            pipelines[i] = &plan->pipelines[i];
    }
    return rapt_sets_create(plan->device, pipelines, PLAN_N_PIPELINES,
                            plan->params.n_steps_in_flight, plan->params.max_records_per_step,
                            &plan->sets);
}

static rapt_status create_slots(rapt_plan *plan)
{
    const rapt_allocator *allocator = plan->device->allocator;
    uint32_t n_slots = plan->params.n_steps_in_flight;
    plan->slots = rapt_alloc(allocator, n_slots, sizeof *plan->slots);
    for (uint32_t i = 0; plan->slots && i < n_slots; i++) {
        plan->slots[i].rounds =
            rapt_alloc(allocator, plan->bounds.rounds, sizeof *plan->slots[i].rounds);
        if (!plan->slots[i].rounds)
            return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %u rounds of a step",
                             plan->bounds.rounds);
    }
    if (!plan->slots)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %u step slots", n_slots);
    if (!(plan->params.flags & RAPT_PLAN_BLOCKS))
        return RAPT_OK;
    plan->list_rows = rapt_alloc(allocator, plan->params.max_batch, sizeof *plan->list_rows);
    plan->list_sets = rapt_alloc(allocator, plan->work.n_groups, sizeof *plan->list_sets);
    if (!plan->list_rows || !plan->list_sets)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the lists of %u sequences",
                         plan->params.max_batch);
    return RAPT_OK;
}

/* Whether a kernel of the plan finds Q, K, V and the output by descriptors or by address. */
static void find_addressing(rapt_plan *plan)
{
    for (int i = 0; i < PLAN_N_PIPELINES; i++) {
        int kernel = choice_of(&plan->selection, i)->kernel;
        if (kernel < 0 || i == PLAN_REDUCE)
            continue;
        if (!(rapt_kernel_bindings(kernel) & (1u << RAPT_BIND_STEP)))
            plan->wide = 1;
        else if (i == PLAN_MERGE)
            plan->narrow_out = 1;
        else
            plan->narrow = plan->narrow_out = 1;
    }
}

rapt_status rapt_plan_create_forced(rapt_device *device, const rapt_plan_params *params,
                                    int force_prefill, int force_decode, rapt_plan **out_plan)
{
    if (!device || !out_plan)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", device ? "out_plan" : "device");
    *out_plan = NULL;
    rapt_plan_params checked;
    rapt_status status = rapt_plan_params_check(params, &checked);
    if (status != RAPT_OK)
        return status;
    rapt_plan *plan = rapt_alloc(device->allocator, 1, sizeof *plan);
    if (!plan)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a plan");
    plan->device = device;
    plan->params = checked;
    rapt_rotation_init(&checked, &plan->rotation);
    plan->params.rope = &plan->rotation.rope; /* not the caller's */
    plan->append.choice.kernel = -1;
    plan->features = rapt_plan_features(&checked);
    status = choose(&device->caps, &checked, force_prefill > 0 ? force_prefill : 0, force_decode,
                    &plan->selection);
    plan->params.tiles = NULL; /* the caller's again */
    if (status == RAPT_OK) {
        plan->rotates_first = rapt_rotate_q_is_used(&checked, &plan->selection);
        if (plan->rotates_first)
            plan->features &= ~RAPT_FEAT_ROPE_Q;
        plan->work = (struct rapt_work_params){
            .selection = &plan->selection,
            .n_groups = checked.n_q_heads / checked.head_group,
            .group = checked.head_group,
            .groups_per_kv = checked.n_q_heads / checked.n_kv_heads / checked.head_group,
            .list_block_q = checked.flags & RAPT_PLAN_BLOCKS ? checked.list_block_q : 0,
            .n_splits = checked.n_splits,
            .fixed_split = checked.fixed_split,
        };
        find_addressing(plan);
        status = place_all(plan);
    }
    if (status == RAPT_OK)
        status = create_slots(plan);
    if (status == RAPT_OK && force_prefill >= 0)
        status = create_pipelines(plan);
    if (status == RAPT_OK)
        status = rapt_append_create(device, &plan->params, 0, &plan->append);
    if (status == RAPT_OK)
        status = rapt_rotate_q_create(plan);
    if (status != RAPT_OK) {
        rapt_plan_destroy(&plan);
        return status;
    }
    rapt_device_log(
        device, RAPT_LOG_INFO, "plan: prefill %s, decode %s: %s",
        plan->selection.prefill.kernel >= 0 ? rapt_kernel_name(plan->selection.prefill.kernel)
                                            : "none",
        plan->selection.decode.kernel >= 0 ? rapt_kernel_name(plan->selection.decode.kernel)
                                           : "none",
        plan->selection.why);
    *out_plan = plan;
    return RAPT_OK;
}

rapt_status rapt_plan_create(rapt_device *device, const rapt_plan_params *params,
                             rapt_plan **out_plan)
{
    return rapt_plan_create_forced(device, params, 0, 0, out_plan);
}

void rapt_plan_destroy(rapt_plan **plan)
{
    if (!plan || !*plan)
        return;
    rapt_plan *p = *plan;
    const rapt_allocator *allocator = p->device->allocator;
    rapt_append_finish(p->device, &p->append);
    rapt_append_finish(p->device, &p->rotate_q);
    rapt_sets_finish(p->device, &p->sets);
    for (int i = 0; i < PLAN_N_PIPELINES; i++)
        rapt_pipeline_finish(p->device, &p->pipelines[i]);
    for (uint32_t i = 0; p->slots && i < p->params.n_steps_in_flight; i++)
        rapt_free(allocator, p->slots[i].rounds);
    rapt_free(allocator, p->slots);
    rapt_free(allocator, p->list_rows);
    rapt_free(allocator, p->list_sets);
    rapt_free(allocator, p);
    *plan = NULL;
}

/* --------------------------------------------------------------------------------------- guests */

void rapt_plan_add_guest(rapt_plan *plan, struct rapt_plan_guest *guest)
{
    guest->next = plan->guests;
    plan->guests = guest;
}

void rapt_plan_remove_guest(rapt_plan *plan, struct rapt_plan_guest *guest)
{
    struct rapt_plan_guest **at = &plan->guests;
    while (*at && *at != guest)
        at = &(*at)->next;
    if (*at)
        *at = guest->next;
}

void rapt_plan_reset_sets(rapt_plan *plan, uint32_t slot)
{
    rapt_sets_reset(&plan->sets, slot);
    rapt_sets_reset(&plan->append.sets, slot);
    rapt_sets_reset(&plan->rotate_q.sets, slot);
    for (struct rapt_plan_guest *guest = plan->guests; guest; guest = guest->next)
        rapt_sets_reset(&guest->sets, slot);
}

/* ----------------------------------------------------------------------------------------- bind */

uint64_t rapt_plan_address(const rapt_device *device, const rapt_buffer *buffer)
{
    if (!buffer->buffer || !device->vk.vkGetBufferDeviceAddress)
        return 0;
    VkBufferDeviceAddressInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
        .buffer = buffer->buffer,
    };
    return device->vk.vkGetBufferDeviceAddress(device->device, &info) + buffer->offset;
}

static rapt_status check_memory(const char *name, const rapt_buffer *buffer, uint64_t n_bytes,
                                uint64_t alignment)
{
    if (!buffer->buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.buffer is NULL", name);
    if (buffer->offset % alignment != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.offset is %llu: expected a multiple of %llu",
                         name, (unsigned long long)buffer->offset, (unsigned long long)alignment);
    if (buffer->size < n_bytes)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s.size is %llu: rapt_plan_sizes asks for %llu", name,
                         (unsigned long long)buffer->size, (unsigned long long)n_bytes);
    return RAPT_OK;
}

rapt_status rapt_plan_bind(rapt_plan *plan, const rapt_plan_memory *memory)
{
    if (!plan)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "plan is NULL");
    rapt_plan_memory read;
    rapt_status status = rapt_params_read("rapt_plan_memory", memory, &read, sizeof read);
    if (status == RAPT_OK)
        status =
            check_memory("tables", &read.tables, plan->places.table_bytes, plan->places.alignment);
    if (status == RAPT_OK)
        status = check_memory("workspace", &read.workspace, plan->places.workspace_bytes,
                              plan->places.alignment);
    if (status != RAPT_OK)
        return status;
    if (!read.tables_mapped || (uintptr_t)read.tables_mapped % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "tables_mapped is %p: expected the host address of tables.offset",
                         read.tables_mapped);
    plan->memory = read;
    plan->tables_address = plan->wide ? rapt_plan_address(plan->device, &read.tables) : 0;
    plan->workspace_address = plan->wide ? rapt_plan_address(plan->device, &read.workspace) : 0;
    for (uint32_t i = 0; i < plan->params.n_steps_in_flight; i++)
        plan->slots[i].step.generation = 0; /* what was prepared lies in the old memory */
    return RAPT_OK;
}
