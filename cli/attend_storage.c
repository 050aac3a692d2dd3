/* SPDX-License-Identifier: Apache-2.0 */
/* What `rapt attend` is told of quantized keys and values and of rotation. */
#include "attend.h"

#include "cli.h"

#include <string.h>

static const struct option_value *value_of(const struct attend *attend, enum attend_option option)
{
    return &attend->values[option];
}

static rapt_type kv_type_of(const struct attend *attend)
{
    const struct option_value *value = value_of(attend, ATTEND_KV_DTYPE);
    return value->given ? rapt_type_parse(value->text) : RAPT_TYPE_DEFAULT;
}

static int check_scales(const struct attend *attend)
{
    static const char *const types[] = {"f32", "f16", NULL};
    static const char *const pers[] = {"head", "token", NULL};
    static const enum attend_option options[] = {ATTEND_K_SCALE, ATTEND_V_SCALE, ATTEND_SCALE_DTYPE,
                                                 ATTEND_SCALE_PER};
    rapt_type type = kv_type_of(attend);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (value_of(attend, options[i])->given && type != RAPT_TYPE_INT8 &&
            type != RAPT_TYPE_FP8_E4M3)
            return cli_fail(CLI_USAGE, "%s needs --kv-dtype int8 or fp8_e4m3",
                            attend_options[options[i]].name);
    }
    int k = value_of(attend, ATTEND_K_SCALE)->given, v = value_of(attend, ATTEND_V_SCALE)->given;
    if (k != v)
        return cli_fail(CLI_USAGE, "%s needs %s", k ? "--k-scale" : "--v-scale",
                        k ? "--v-scale" : "--k-scale");
    const struct option_value *scale_type = value_of(attend, ATTEND_SCALE_DTYPE);
    if (scale_type->given && options_word("--scale-dtype", scale_type->text, types) < 0)
        return CLI_USAGE;
    const struct option_value *per = value_of(attend, ATTEND_SCALE_PER);
    if (!per->given)
        return 0;
    int word = options_word("--scale-per", per->text, pers);
    if (word < 0)
        return CLI_USAGE;
    if (k)
        return cli_fail(CLI_USAGE, "--scale-per and --k-scale exclude each other");
    if (word == 1 && type != RAPT_TYPE_INT8)
        return cli_fail(CLI_USAGE, "--scale-per token needs --kv-dtype int8");
    return 0;
}

int attend_storage_check(const struct attend *attend)
{
    static const char *const choices[] = {"auto", "never", "always", NULL};
    int code = check_scales(attend);
    code = code ? code : rope_check(attend_options + ATTEND_ROPE, attend->values + ATTEND_ROPE);
    if (code)
        return code;
    static const enum attend_option positions[] = {ATTEND_ROPE_POS, ATTEND_ROPE_KV_POS};
    for (int i = 0; i < 2; i++) {
        if (value_of(attend, positions[i])->given && !value_of(attend, ATTEND_ROPE)->given)
            return cli_fail(CLI_USAGE, "%s needs --rope", attend_options[positions[i]].name);
    }
    if (value_of(attend, ATTEND_ROPE_KV_POS)->given && value_of(attend, ATTEND_K_POOL)->given)
        return cli_fail(CLI_USAGE,
                        "--rope-kv-pos and --k-pool exclude each other: a pool holds rotated keys");
    const struct option_value *integer_dot = value_of(attend, ATTEND_INTEGER_DOT);
    if (!integer_dot->given)
        return 0;
    int choice = options_word("--integer-dot", integer_dot->text, choices);
    rapt_type type = kv_type_of(attend);
    if (choice == RAPT_CHOICE_ALWAYS && type != RAPT_TYPE_INT8 && type != RAPT_TYPE_Q8_0)
        return cli_fail(CLI_USAGE, "--integer-dot always needs --kv-dtype int8 or q8_0");
    return choice < 0 ? CLI_USAGE : 0;
}

/* Static scales: one number, or one per K/V head. */
static int input_scale(struct attend *attend, enum attend_option option, const float **out_scale,
                       uint32_t *out_n)
{
    const struct array *array = &attend->arrays[option];
    char shape[192];
    if (array->rank != 1 ||
        (array->n_elements != 1 && array->n_elements != attend->problem.n_kv_heads))
        return cli_fail(CLI_USAGE,
                        "%s %s has the shape %s: expected [1], or one number per K/V head, [%u]",
                        attend_options[option].name, value_of(attend, option)->text,
                        array_shape_text(array, shape, sizeof shape), attend->problem.n_kv_heads);
    *out_scale = array->data;
    *out_n = (uint32_t)array->n_elements;
    return 0;
}

static int input_positions(struct attend *attend, enum attend_option option, const int32_t *cu,
                           const char *what, const int32_t **out_positions)
{
    const struct array *array = &attend->arrays[option];
    int64_t total = cu ? cu[attend->problem.n_seqs] : 0;
    char shape[192];
    if (!value_of(attend, option)->given)
        return 0;
    if (array->rank != 1 || (int64_t)array->n_elements < total)
        return cli_fail(CLI_USAGE, "%s %s has the shape %s: expected one position per %s, [%lld]",
                        attend_options[option].name, value_of(attend, option)->text,
                        array_shape_text(array, shape, sizeof shape), what, (long long)total);
    *out_positions = array->data;
    return 0;
}

int attend_storage_input(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    int code = 0;
    problem->kv_type = kv_type_of(attend);
    if (value_of(attend, ATTEND_SCALE_DTYPE)->given)
        problem->scale_type = rapt_type_parse(value_of(attend, ATTEND_SCALE_DTYPE)->text);
    if (value_of(attend, ATTEND_SCALE_PER)->given &&
        strcmp(value_of(attend, ATTEND_SCALE_PER)->text, "token") == 0)
        problem->scale_kind = RAPT_SCALE_TOKEN;
    if (value_of(attend, ATTEND_K_SCALE)->given) {
        problem->scale_kind = RAPT_SCALE_STATIC;
        code = input_scale(attend, ATTEND_K_SCALE, &problem->k_scale, &problem->n_k_scale);
        if (!code)
            code = input_scale(attend, ATTEND_V_SCALE, &problem->v_scale, &problem->n_v_scale);
    }
    const struct option_value *integer_dot = value_of(attend, ATTEND_INTEGER_DOT);
    if (integer_dot->given)
        problem->integer_dot = strcmp(integer_dot->text, "never") == 0    ? RAPT_CHOICE_NEVER
                               : strcmp(integer_dot->text, "always") == 0 ? RAPT_CHOICE_ALWAYS
                                                                          : RAPT_CHOICE_AUTO;
    if (!code)
        code = rope_read(attend_options + ATTEND_ROPE, attend->values + ATTEND_ROPE,
                         problem->head_dim, &attend->rope);
    if (!code && attend->rope.rope.pairing != RAPT_ROPE_NONE)
        problem->rope = &attend->rope.rope;
    if (!code)
        code = input_positions(attend, ATTEND_ROPE_POS, problem->cu_q, "query token",
                               &problem->rope_pos);
    if (!code)
        code = input_positions(attend, ATTEND_ROPE_KV_POS, problem->cu_kv, "key",
                               &problem->k_rope_pos);
    return code;
}
