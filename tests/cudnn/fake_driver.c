/* SPDX-License-Identifier: Apache-2.0
 * A libcuda.so.1 for machines without one: cuDNN compiles plans for a device that is only described
 * to it, but wants a driver to load the result.  This one says yes to loading and no to all else. */
#define EXPORT __attribute__((visibility("default")))

enum { kSuccess = 0, kNoDevice = 100 };
static int kernel; /* what every handle points to */

EXPORT int cuLibraryLoadData(void **library) { return *library = &kernel, kSuccess; }
EXPORT int cuLibraryUnload(void) { return kSuccess; }
EXPORT int cuLibraryGetKernel(void **found) { return *found = &kernel, kSuccess; }
EXPORT int cuLibraryGetKernelCount(unsigned *count) { return *count = 1, kSuccess; }
EXPORT int cuLibraryEnumerateKernels(void **kernels) { return *kernels = &kernel, kSuccess; }
EXPORT int cuKernelGetFunction(void **function) { return *function = &kernel, kSuccess; }
EXPORT int cuKernelGetAttribute(int *value) { return *value = 0, kSuccess; }
EXPORT int cuKernelSetAttribute(void) { return kSuccess; }
EXPORT int cuFuncGetAttribute(int *value) { return *value = 0, kSuccess; }
EXPORT int cuFuncSetAttribute(void) { return kSuccess; }
EXPORT int cuDriverGetVersion(int *version) { return *version = 13000, kSuccess; }
EXPORT int cuGetErrorName(int error, const char **text) { return *text = "no device", error * 0; }
EXPORT int cuGetErrorString(int error, const char **text) { return *text = "no device", error * 0; }

#define NO(name) \
  EXPORT int name(void) { return kNoDevice; }
NO(cuInit)
NO(cuCtxGetCurrent)
NO(cuCtxGetLimit)
NO(cuCtxPopCurrent)
NO(cuCtxPushCurrent)
NO(cuDeviceGet)
NO(cuDeviceGetCount)
NO(cuLaunchCooperativeKernel)
NO(cuLaunchKernel)
NO(cuLaunchKernelEx)
NO(cuLibraryLoadFromFile)
NO(cuLinkAddData)
NO(cuLinkComplete)
NO(cuLinkCreate)
NO(cuLinkDestroy)
NO(cuOccupancyMaxPotentialClusterSize)
NO(cuStreamGetCtx)
