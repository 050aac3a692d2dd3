/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table as C sees it, without a device: what each row says it needs against what its
 * SPIR-V really uses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "args.h"
#include "kernel_table.h"

/* SPIR-V capabilities and the features they need; 0 = every Vulkan 1.1 device has it. */
static const struct {
    uint32_t capability;
    rapt_features features;
    const char *name;
} capabilities[] = {
    {0, 0, "Matrix"},
    {1, 0, "Shader"},
    {9, RAPT_FEATURE_F16, "Float16"},
    {11, RAPT_FEATURE_INT64, "Int64"},
    {39, RAPT_FEATURE_INT8, "Int8"},
    {61, 0, "GroupNonUniform"},
    {62, RAPT_FEATURE_SUBGROUP, "GroupNonUniformVote"},
    {63, RAPT_FEATURE_SUBGROUP, "GroupNonUniformArithmetic"},
    {64, RAPT_FEATURE_SUBGROUP, "GroupNonUniformBallot"},
    {65, RAPT_FEATURE_SUBGROUP, "GroupNonUniformShuffle"},
    {68, RAPT_FEATURE_SUBGROUP, "GroupNonUniformQuad"},
    {4433, RAPT_FEATURE_STORAGE_16BIT, "StorageBuffer16BitAccess"},
    {4448, RAPT_FEATURE_STORAGE_8BIT, "StorageBuffer8BitAccess"},
    {5116, RAPT_FEATURE_BF16, "BFloat16TypeKHR"},
    {5118, RAPT_FEATURE_BF16 | RAPT_FEATURE_COOPMAT, "BFloat16CooperativeMatrixKHR"},
    {5345, RAPT_FEATURE_MEMORY_MODEL, "VulkanMemoryModel"},
    {5346, RAPT_FEATURE_MEMORY_MODEL, "VulkanMemoryModelDeviceScope"},
    {5347, RAPT_FEATURE_BUFFER_DEVICE_ADDRESS, "PhysicalStorageBufferAddresses"},
    {5430, RAPT_FEATURE_COOPMAT2, "CooperativeMatrixReductionsNV"},
    {5431, RAPT_FEATURE_COOPMAT2, "CooperativeMatrixConversionsNV"},
    {5432, RAPT_FEATURE_COOPMAT2, "CooperativeMatrixPerElementOperationsNV"},
    {5433, RAPT_FEATURE_COOPMAT2_TENSOR, "CooperativeMatrixTensorAddressingNV"},
    {5434, RAPT_FEATURE_COOPMAT2_TENSOR, "CooperativeMatrixBlockLoadsNV"},
    {5439, RAPT_FEATURE_COOPMAT2_TENSOR, "TensorAddressingNV"},
    {6016, RAPT_FEATURE_INTEGER_DOT, "DotProductInputAll"},
    {6017, RAPT_FEATURE_INTEGER_DOT, "DotProductInput4x8Bit"},
    {6018, RAPT_FEATURE_INTEGER_DOT, "DotProductInput4x8BitPacked"},
    {6019, RAPT_FEATURE_INTEGER_DOT, "DotProduct"},
    {6022, RAPT_FEATURE_COOPMAT, "CooperativeMatrixKHR"},
};

enum { OP_CAPABILITY = 17, OP_DECORATE = 71 };
enum { DECORATION_SPEC_ID = 1, DECORATION_BINDING = 33, DECORATION_SET = 34 };

static int wrong(const char *kernel, const char *format, uint32_t value)
{
    fprintf(stderr, "%s: ", kernel);
    fprintf(stderr, format, (unsigned)value);
    fprintf(stderr, "\n");
    return 1;
}

static int check_capability(int kernel, uint32_t capability)
{
    const char *name = rapt_kernel_name(kernel);
    for (size_t i = 0; i < sizeof capabilities / sizeof capabilities[0]; i++) {
        if (capabilities[i].capability != capability)
            continue;
        rapt_features missing = capabilities[i].features & ~rapt_kernel_features(kernel);
        if (!missing)
            return 0;
        fprintf(stderr, "%s: uses %s, but its CAPS lack", name, capabilities[i].name);
        for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++) {
            if (missing >> bit & 1)
                fprintf(stderr, " %s", rapt_feature_name(bit));
        }
        fprintf(stderr, "\n");
        return 1;
    }
    return wrong(name, "uses SPIR-V capability %u, which no RAPT_FEATURE_* stands for", capability);
}

static int check_decoration(int kernel, uint32_t decoration, uint32_t value, uint32_t *bindings)
{
    const char *name = rapt_kernel_name(kernel);
    if (decoration == DECORATION_SPEC_ID && value >= RAPT_N_SPECS)
        return wrong(name, "has a specialization constant %u: see RAPT_SPEC_*", value);
    if (decoration == DECORATION_SET && value != 0)
        return wrong(name, "uses descriptor set %u: only 0 is bound", value);
    if (decoration != DECORATION_BINDING)
        return 0;
    if (value >= RAPT_N_BINDINGS)
        return wrong(name, "declares binding %u: see RAPT_BIND_*", value);
    *bindings |= 1u << value;
    if (!(rapt_kernel_bindings(kernel) >> value & 1))
        return wrong(name, "declares binding %u, but its BINDINGS lack it", value);
    return 0;
}

static int check_words(int kernel, const uint32_t *words, size_t n_words)
{
    int failed = 0;
    uint32_t bindings = 0;
    const char *name = rapt_kernel_name(kernel);
    if (n_words < 5 || words[0] != 0x07230203u)
        return wrong(name, "is not SPIR-V: it begins with 0x%08x", n_words ? words[0] : 0);
    for (size_t at = 5; at < n_words;) {
        uint32_t length = words[at] >> 16, op = words[at] & 0xffff;
        if (length == 0 || at + length > n_words)
            return wrong(name, "has a broken instruction at word %u", (uint32_t)at);
        if (op == OP_CAPABILITY)
            failed |= check_capability(kernel, words[at + 1]);
        if (op == OP_DECORATE && length >= 4)
            failed |= check_decoration(kernel, words[at + 2], words[at + 3], &bindings);
        at += length;
    }
    /* An interface nobody reads costs descriptors: 4 are all that some devices have. */
    for (uint32_t b = 0; b < 32; b++) {
        if ((rapt_kernel_bindings(kernel) & ~bindings) >> b & 1)
            fprintf(stderr, "note: %s never uses binding %u of its BINDINGS\n", name, (unsigned)b);
    }
    return failed;
}

static void test_rows(void **state)
{
    (void)state;
    int failed = 0;
    for (int k = 0; k < (int)RAPT_N_KERNELS; k++) {
        const char *name = rapt_kernel_name(k);
        size_t n_bytes = 0;
        const uint32_t *words = rapt_kernel_words(k, &n_bytes);
        assert_non_null(name);
        assert_string_equal(name, rapt_kernel_blobs[k].name);
        assert_int_equal(rapt_kernel_find(name), k); /* unique */
        assert_int_equal(rapt_kernel_features(k) >> RAPT_N_FEATURES, 0);
        assert_int_equal(rapt_kernel_bindings(k) >> RAPT_N_BINDINGS, 0);
        if (words) {
            assert_null(rapt_kernel_absent_reason(k));
            failed |= check_words(k, words, n_bytes / 4);
        } else {
            assert_non_null(rapt_kernel_absent_reason(k));
            assert_true(strlen(rapt_kernel_absent_reason(k)) > 10);
            assert_int_equal(n_bytes, 0);
        }
    }
    assert_int_equal(failed, 0);
    assert_true(RAPT_N_KERNELS > 0);
}

static void test_outside(void **state)
{
    (void)state;
    size_t n_bytes = 7;
    const int outside[] = {-1, (int)RAPT_N_KERNELS, 1 << 30};
    for (int i = 0; i < 3; i++) {
        assert_null(rapt_kernel_name(outside[i]));
        assert_null(rapt_kernel_words(outside[i], &n_bytes));
        assert_int_equal(n_bytes, 0);
        assert_non_null(rapt_kernel_absent_reason(outside[i]));
        assert_int_equal(rapt_kernel_features(outside[i]), 0);
        assert_int_equal(rapt_kernel_bindings(outside[i]), 0);
    }
    assert_int_equal(rapt_kernel_find("no_such_kernel"), -1);
    assert_int_equal(rapt_kernel_find(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests_name("kernel rows", tests, NULL, NULL);
}
