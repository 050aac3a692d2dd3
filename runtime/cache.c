/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include "error.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

/* Host byte order: a blob never leaves the machine it was made on. The checksum is the last member
 * and covers the payload first, then the members before it. */
struct blob_header {
    uint32_t magic, version;
    uint32_t vendor_id, device_id, driver_version, driver_id;
    uint8_t device_uuid[16], cache_uuid[16];
    uint64_t payload_bytes;
    uint64_t checksum;
};
_Static_assert(sizeof(struct blob_header) == 72, "no padding, or the checksum would cover garbage");

#define BLOB_MAGIC 0x63746172u /* "ratc" */
#define BLOB_VERSION 1u

static void fill_header(const rapt_caps *caps, uint64_t payload_bytes, struct blob_header *header)
{
    memset(header, 0, sizeof *header);
    header->magic = BLOB_MAGIC;
    header->version = BLOB_VERSION;
    header->vendor_id = caps->vendor_id;
    header->device_id = caps->device_id;
    header->driver_version = caps->driver_version;
    header->driver_id = caps->driver_id;
    memcpy(header->device_uuid, caps->device_uuid, sizeof header->device_uuid);
    memcpy(header->cache_uuid, caps->pipeline_cache_uuid, sizeof header->cache_uuid);
    header->payload_bytes = payload_bytes;
}

static uint64_t checksum(const struct blob_header *header, const void *payload, size_t n_bytes)
{
    uint64_t of_payload = XXH64(payload, n_bytes, 0);
    return XXH64(header, offsetof(struct blob_header, checksum), of_payload);
}

/* What a driver's own header must say (VkPipelineCacheHeaderVersionOne): drivers should check it,
 * but not all of them do. */
static int payload_fits(const rapt_caps *caps, const uint8_t *payload, size_t n_bytes)
{
    uint32_t words[4];
    if (n_bytes < sizeof words + 16)
        return 0;
    memcpy(words, payload, sizeof words);
    return words[0] >= 32 && words[0] <= n_bytes &&
           words[1] == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && words[2] == caps->vendor_id &&
           words[3] == caps->device_id && memcmp(payload + 16, caps->pipeline_cache_uuid, 16) == 0;
}

const char *rapt_cache_check(const rapt_caps *caps, const void *blob, size_t n_bytes,
                             const void **out_payload, size_t *out_payload_bytes)
{
    struct blob_header header, expected;
    if (n_bytes < sizeof header)
        return "it is shorter than its header";
    memcpy(&header, blob, sizeof header);
    if (header.magic != BLOB_MAGIC)
        return "it is no pipeline cache of this library";
    if (header.version != BLOB_VERSION)
        return "another version of this library wrote it";
    fill_header(caps, header.payload_bytes, &expected);
    if (memcmp(&header, &expected, offsetof(struct blob_header, checksum)) != 0)
        return "it belongs to another device or driver";
    if (header.payload_bytes != n_bytes - sizeof header)
        return "it is truncated";
    const uint8_t *payload = (const uint8_t *)blob + sizeof header;
    if (header.checksum != checksum(&header, payload, n_bytes - sizeof header))
        return "its checksum does not match";
    if (!payload_fits(caps, payload, n_bytes - sizeof header))
        return "the driver's part belongs to another device or driver";
    *out_payload = payload;
    *out_payload_bytes = n_bytes - sizeof header;
    return NULL;
}

rapt_status rapt_cache_create(rapt_device *device, const void *blob, size_t n_bytes)
{
    const void *payload = NULL;
    size_t payload_bytes = 0;
    if (blob) {
        const char *reason =
            rapt_cache_check(&device->caps, blob, n_bytes, &payload, &payload_bytes);
        if (reason)
            rapt_device_log(device, RAPT_LOG_WARNING, "the pipeline cache is ignored: %s", reason);
    }
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = payload_bytes,
        .pInitialData = payload,
    };
    VkResult result =
        device->vk.vkCreatePipelineCache(device->device, &info, NULL, &device->pipeline_cache);
    if (result != VK_SUCCESS && payload) {
        rapt_device_log(device, RAPT_LOG_WARNING,
                        "the driver refuses the pipeline cache: it begins empty");
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        result =
            device->vk.vkCreatePipelineCache(device->device, &info, NULL, &device->pipeline_cache);
    }
    if (result != VK_SUCCESS) {
        device->pipeline_cache = VK_NULL_HANDLE;
        return rapt_device_result(result, "vkCreatePipelineCache");
    }
    rapt_device_name(device, VK_OBJECT_TYPE_PIPELINE_CACHE, (uint64_t)device->pipeline_cache,
                     "rapt pipeline cache");
    return RAPT_OK;
}

rapt_status rapt_device_pipeline_cache_add(rapt_device *device, const void *data, size_t n_bytes)
{
    if (!device || !data)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", device ? "data" : "device");
    const void *payload = NULL;
    size_t payload_bytes = 0;
    const char *reason = rapt_cache_check(&device->caps, data, n_bytes, &payload, &payload_bytes);
    if (reason)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the pipeline cache is refused: %s", reason);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = payload_bytes,
        .pInitialData = payload,
    };
    VkPipelineCache added = VK_NULL_HANDLE;
    VkResult result = device->vk.vkCreatePipelineCache(device->device, &info, NULL, &added);
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkCreatePipelineCache");
    result = device->vk.vkMergePipelineCaches(device->device, device->pipeline_cache, 1, &added);
    device->vk.vkDestroyPipelineCache(device->device, added, NULL);
    return result == VK_SUCCESS ? RAPT_OK : rapt_device_result(result, "vkMergePipelineCaches");
}

rapt_status rapt_device_pipeline_cache_get(rapt_device *device, void *data, size_t *inout_bytes)
{
    if (!device || !inout_bytes)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", device ? "inout_bytes" : "device");
    size_t payload_bytes = 0;
    VkResult result = device->vk.vkGetPipelineCacheData(device->device, device->pipeline_cache,
                                                        &payload_bytes, NULL);
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkGetPipelineCacheData");
    const size_t needed = sizeof(struct blob_header) + payload_bytes;
    if (!data) {
        *inout_bytes = needed;
        return RAPT_OK;
    }
    if (*inout_bytes < needed) {
        size_t given = *inout_bytes;
        *inout_bytes = needed;
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "the pipeline cache has %zu bytes now: %zu were given", needed, given);
    }
    /* Another thread may have added pipelines since: then the driver fills what fits. */
    payload_bytes = *inout_bytes - sizeof(struct blob_header);
    uint8_t *payload = (uint8_t *)data + sizeof(struct blob_header);
    result = device->vk.vkGetPipelineCacheData(device->device, device->pipeline_cache,
                                               &payload_bytes, payload);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return rapt_device_result(result, "vkGetPipelineCacheData");
    struct blob_header header;
    fill_header(&device->caps, payload_bytes, &header);
    header.checksum = checksum(&header, payload, payload_bytes);
    memcpy(data, &header, sizeof header);
    *inout_bytes = sizeof header + payload_bytes;
    return RAPT_OK;
}
