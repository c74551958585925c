"""Has this process sleep while it waits for a GPU, in place of spinning: the CPUs are the loader's."""

import ctypes
from typing import Any

_CU_CTX_SCHED_BLOCKING_SYNC = 4


def use_blocking_sync(device_id: int) -> bool:
    """Sets how all waits for a GPU are done, torch's and DALI's; called before anything else is done with it.

    Returns:
        Whether the driver took it: where not, waits spin, and cost a CPU.
    """
    device = ctypes.c_int()
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
        return (
            driver.cuInit(0) == 0
            and driver.cuDeviceGet(ctypes.byref(device), device_id) == 0
            and bool(driver.cuDevicePrimaryCtxSetFlags_v2(device, _CU_CTX_SCHED_BLOCKING_SYNC) == 0)
        )
    except (OSError, AttributeError):
        return False
