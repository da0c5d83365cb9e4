"""*Run All* sends all cells at once. The kernel answers each, whatever it is doing when the next one comes."""

import asyncio
import random
import shutil
import tempfile
from pathlib import Path
from queue import Empty

import pytest

from helpers.runner.execution import kernel_manager

KERNELS = 10
#: Kernels at a time: they are to be busy with their cells, and not with waiting for a processor.
TOGETHER = 2
CELLS = 40
#: A kernel that loses a wake-up notices with the next cell that comes, so only the end of a burst shows it.
BURSTS = 3
LONGEST_GAP = 0.004
#: Seconds without an answer after which a kernel hangs. It needs some milliseconds for a cell.
PATIENCE = 45


@pytest.fixture
def scratch():
    # socket paths are short, so this does not go where pytest puts its folders
    folder = Path(tempfile.mkdtemp(prefix="burst-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def answered(manager, number):
    """How many cells of each burst the kernel answers, up to the first that it does not answer completely."""
    gaps = random.Random(number)  # noqa: S311 - the same gaps in every run
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    counts = []
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        while len(counts) < BURSTS and counts[-1:] in ([], [CELLS]):
            sent = set()
            for cell in range(CELLS):
                sent.add(client.execute(f"cell = {cell}"))
                await asyncio.sleep(gaps.uniform(0, LONGEST_GAP))
            while sent:
                try:
                    message = await client.get_shell_msg(timeout=PATIENCE)
                except Empty:
                    break
                sent.discard(message["parent_header"].get("msg_id"))
            counts.append(CELLS - len(sent))
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        manager.cleanup_connection_file()
        manager.context.destroy(linger=0)
    return counts


# about ipykernel, not about our own code
@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(600)
def test_no_kernel_hangs_when_many_cells_come_at_once(scratch):
    async def all_kernels():
        places = asyncio.Semaphore(TOGETHER)

        async def one(number):
            async with places:
                folder = scratch / str(number)
                return await answered(kernel_manager(folder), number)

        return await asyncio.gather(*(one(number) for number in range(KERNELS)))

    assert asyncio.run(all_kernels()) == [[CELLS] * BURSTS] * KERNELS
