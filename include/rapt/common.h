/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_COMMON_H
#define RAPT_COMMON_H

/* Status codes, element types, host allocator, log callback: what every other header needs.
 *
 * Conventions of all public headers
 *  - Parameter structs start with `struct_size`; set it to sizeof the struct you compiled against
 *    and zero the rest (designated initialisers do both). Zero means "default", said per field.
 *    Structs grow at the end only, so old callers keep working. They live only for the call.
 *  - create/destroy are for heap objects; destroy takes a pointer to the handle, accepts NULL
 *    inside it and nulls it.
 *  - Sizes ending in `_bytes` are bytes, counts begin with `n_`, strides are in elements.
 *  - An object is used by one thread at a time unless its function says otherwise; two objects,
 *    even of one device, may be used from two threads.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(RAPT_STATIC)
#define RAPT_API
#elif defined(_WIN32)
#if defined(RAPT_BUILD)
#define RAPT_API __declspec(dllexport)
#else
#define RAPT_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define RAPT_API __attribute__((visibility("default")))
#else
#define RAPT_API
#endif

#define RAPT_VERSION_MAJOR 0
#define RAPT_VERSION_MINOR 1
#define RAPT_VERSION_PATCH 0

/* Version of the library linked at run time, "major.minor.patch". Thread-safety: any thread. */
RAPT_API const char *rapt_version(void);

/* 0 is success. Negative values are grouped by hundreds: see rapt_status_group(). */
typedef enum rapt_status {
    RAPT_OK = 0,
    /* argument */
    RAPT_ERROR_ARGUMENT = -1, /* a value is impossible; the message names it */
    RAPT_ERROR_SHAPE = -2,    /* two tensors, tables or lengths disagree */
    RAPT_ERROR_CAPACITY = -3, /* more than the plan was made for; the size needed is returned */
    RAPT_ERROR_BUSY = -4,     /* a step slot is still executing */
    RAPT_ERROR_SYNTAX = -5,   /* text (a mask expression, a list) does not parse */
    /* capability */
    RAPT_ERROR_NO_DEVICE = -100,   /* no usable Vulkan device or loader */
    RAPT_ERROR_UNSUPPORTED = -101, /* this device or this build cannot do what was asked */
    RAPT_ERROR_ABSENT = -102,      /* the kernel was not compiled into this build; the message says why */
    /* memory */
    RAPT_ERROR_HOST_MEMORY = -200,
    RAPT_ERROR_DEVICE_MEMORY = -201,
    RAPT_ERROR_PAGES = -202, /* a page pool is exhausted */
    /* device */
    RAPT_ERROR_DEVICE_LOST = -300,
    RAPT_ERROR_DEVICE = -301, /* another Vulkan call failed; the message has the VkResult */
    RAPT_ERROR_IO = -302,     /* a file of the easy tier */
    /* internal */
    RAPT_ERROR_INTERNAL = -400
} rapt_status;

typedef enum rapt_status_group_id {
    RAPT_STATUS_GROUP_OK = 0,
    RAPT_STATUS_GROUP_ARGUMENT,
    RAPT_STATUS_GROUP_CAPABILITY,
    RAPT_STATUS_GROUP_MEMORY,
    RAPT_STATUS_GROUP_DEVICE,
    RAPT_STATUS_GROUP_INTERNAL
} rapt_status_group_id;

/* Thread-safety: any thread. */
RAPT_API rapt_status_group_id rapt_status_group(rapt_status status);
/* Short name of a code, "capacity exceeded"; never NULL. Thread-safety: any thread. */
RAPT_API const char *rapt_status_string(rapt_status status);

/* One line about the last call of this thread that failed: the argument, its value, what was
 * expected. "" before any failure. Valid until the thread's next failing call.
 * Thread-safety: per thread. */
RAPT_API const char *rapt_last_error(void);

/* Element types of tensors. Strides of quantized kinds are in bytes. */
typedef enum rapt_type {
    RAPT_TYPE_DEFAULT = 0, /* whatever the field's comment says */
    RAPT_TYPE_F32 = 1,
    RAPT_TYPE_F16 = 2,
    RAPT_TYPE_BF16 = 3,
    RAPT_TYPE_INT8 = 4, /* quantized K/V kinds, see reference.h */
    RAPT_TYPE_FP8_E4M3 = 5,
    RAPT_TYPE_INT4 = 6,
    RAPT_TYPE_Q8_0 = 7,
    RAPT_TYPE_Q4_0 = 8
} rapt_type;

/* "f16" and so on; NULL for a value that is no type. Thread-safety: any thread. */
RAPT_API const char *rapt_type_name(rapt_type type);
/* Inverse of rapt_type_name; RAPT_TYPE_DEFAULT if the name is unknown. Thread-safety: any thread. */
RAPT_API rapt_type rapt_type_parse(const char *name);
/* Bytes of one element of f32, f16, bf16; 0 for the others. Thread-safety: any thread. */
RAPT_API size_t rapt_type_bytes(rapt_type type);

/* How finely the scales of int8 and fp8_e4m3 K/V are kept. Where they lie in memory is a matter of
 * strides alone: a stride of 0 shares them. */
typedef enum rapt_scale_kind {
    RAPT_SCALE_TOKEN_HEAD = 0, /* one per token and KV head, taken from the row when it is stored */
    RAPT_SCALE_TOKEN = 1,      /* int8: one per token, taken over the KV heads (head stride 0) */
    RAPT_SCALE_STATIC = 2      /* the caller's, per KV head or one for all: never written */
} rapt_scale_kind;

/* Whether a faster, coarser way may be taken. */
typedef enum rapt_choice {
    RAPT_CHOICE_AUTO = 0,
    RAPT_CHOICE_NEVER = 1,
    RAPT_CHOICE_ALWAYS = 2 /* wherever the device can */
} rapt_choice;

/* Bytes a row of head_dim elements takes, any type; 0 if the type cannot hold that many (int4, q8_0,
 * q4_0 need multiples of 32). Thread-safety: any thread. */
RAPT_API size_t rapt_row_bytes(rapt_type type, uint32_t head_dim);

/* Host memory. All three callbacks or none (NULL pointer to the struct = malloc and free).
 * `alloc` returns memory aligned to 16 bytes or NULL; a NULL makes the call fail with
 * RAPT_ERROR_HOST_MEMORY and change nothing. Called from the thread that made the call. */
typedef struct rapt_allocator {
    void *user;
    void *(*alloc)(void *user, size_t n_bytes);
    void (*free)(void *user, void *memory); /* memory may be NULL */
} rapt_allocator;

typedef enum rapt_log_level {
    RAPT_LOG_ERROR = 0,
    RAPT_LOG_WARNING = 1,
    RAPT_LOG_INFO = 2,
    RAPT_LOG_DEBUG = 3
} rapt_log_level;

/* Receives one line without a newline. May be called from any thread that calls into the object. */
typedef struct rapt_log {
    void *user;
    void (*write)(void *user, rapt_log_level level, const char *line); /* NULL = silent */
    rapt_log_level max_level;
} rapt_log;

/* How the elements of a tensor lie in memory, in elements. The head dim is contiguous always.
 *   element(outer, token, head, d) = outer*outer_stride + token*token_stride + head*head_stride + d
 * `outer` is the sequence for packed and padded tensors, the page for paged K/V.
 * For packed tensors ([total, H, D] with cumulative lengths) outer_stride is 0 and tokens of all
 * sequences are counted through. All zero = the dense default: [total, H, D], or
 * [pages, page_size, H, D] (NHD) for paged K/V. 16-bit tensors need even strides. */
typedef struct rapt_layout {
    uint64_t outer_stride;
    uint64_t token_stride;
    uint64_t head_stride;
    uint64_t dim_stride; /* 0 or 1; anything else is refused: the dim must be contiguous */
} rapt_layout;

#ifdef __cplusplus
}
#endif
#endif
