/* SPDX-License-Identifier: Apache-2.0 */
#include "platform.h"

#include "error.h"

#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static const char *const library_names[] = {"vulkan-1.dll"};

static void *library_open(const char *name)
{
    return (void *)LoadLibraryA(name);
}

static void library_close(void *library)
{
    FreeLibrary((HMODULE)library);
}

static PFN_vkGetInstanceProcAddr library_entry(void *library, const char *name)
{
    FARPROC found = GetProcAddress((HMODULE)library, name);
    PFN_vkGetInstanceProcAddr entry = NULL;
    memcpy(&entry, &found, sizeof entry);
    return entry;
}

#else
#include <dlfcn.h>

#if defined(__APPLE__)
static const char *const library_names[] = {"libvulkan.dylib", "libvulkan.1.dylib",
                                            "libMoltenVK.dylib"};
#else
static const char *const library_names[] = {"libvulkan.so.1", "libvulkan.so"};
#endif

static void *library_open(const char *name)
{
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

static void library_close(void *library)
{
    dlclose(library);
}

static PFN_vkGetInstanceProcAddr library_entry(void *library, const char *name)
{
    /* ISO C has no cast from an object pointer to a function pointer. */
    void *found = dlsym(library, name);
    PFN_vkGetInstanceProcAddr entry = NULL;
    memcpy(&entry, &found, sizeof entry);
    return entry;
}
#endif

rapt_status rapt_platform_open_vulkan(void **out_library,
                                      PFN_vkGetInstanceProcAddr *out_get_instance_proc_addr)
{
    for (size_t i = 0; i < sizeof library_names / sizeof library_names[0]; i++) {
        void *library = library_open(library_names[i]);
        if (!library)
            continue;
        PFN_vkGetInstanceProcAddr entry = library_entry(library, "vkGetInstanceProcAddr");
        if (entry) {
            *out_library = library;
            *out_get_instance_proc_addr = entry;
            return RAPT_OK;
        }
        library_close(library);
    }
    return rapt_fail(RAPT_ERROR_NO_DEVICE,
                     "no Vulkan loader: %s cannot be opened; install the system's Vulkan loader "
                     "and a driver",
                     library_names[0]);
}

void rapt_platform_close(void *library)
{
    if (library)
        library_close(library);
}
