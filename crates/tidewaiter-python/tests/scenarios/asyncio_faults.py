"""Faults under an asyncio loop. Run as a program: `asyncio_faults.py FUNCTION`, which prints the result as JSON."""

import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings

import tidewaiter.asyncio


def _loop():
    return tidewaiter.asyncio.Loop()


def interrupts():
    """Interrupts at random moments leave the loop, which then goes on with all that it had."""

    class Observed(tidewaiter.asyncio.Loop):
        in_turn = False

        def _run_once(self):
            self.in_turn = True
            try:
                super()._run_once()
            finally:
                self.in_turn = False

    loop, rng = Observed(), random.Random(5)
    seen, done = 0, []
    stop_at = time.monotonic() + 1.5

    def raise_interrupt(*_):
        # In asyncio's own steps before and after the turns, an interrupt leaves any loop half begun.
        if loop.in_turn:
            raise KeyboardInterrupt

    async def work(number):
        for _ in range(30):
            await asyncio.sleep(rng.random() / 1000)
            await asyncio.sleep(0)
        done.append(number)

    def again():
        loop.call_later(rng.random() / 1000, again)

    signal.signal(signal.SIGALRM, raise_interrupt)
    again()
    while time.monotonic() < stop_at:
        stopping = loop.call_later(0.01, loop.stop)
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.random() / 500 + 1e-6)
            loop.run_forever()
        except KeyboardInterrupt:
            seen += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        stopping.cancel()
        assert not loop.is_running()
        assert asyncio._get_running_loop() is None

    # Tasks that an interrupt hit are lost, and nothing else: new tasks run as ever.
    async def all_at_once():
        await asyncio.gather(*(work(number) for number in range(20)))

    loop.run_until_complete(all_at_once())
    loop.close()
    return {"interrupted": seen > 5, "done": sorted(done) == list(range(20))}


def control_c():
    """Ctrl-C cancels the main task, as `asyncio.run` has it."""
    events = []

    async def main(delay):
        threading.Timer(delay, _interrupt).start()
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    # At different moments: while the loop is about to wait, for example.
    for delay in (0.0, 0.0001, 0.001, 0.05):
        try:
            tidewaiter.asyncio.run(main(delay))
            events.append("returned")
        except KeyboardInterrupt:
            events.append("interrupted")
    return events


def _interrupt():
    if os.name == "nt":
        signal.raise_signal(signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


def closing():
    """A loop is closed with calls, timers and tasks on it: none is made, and all are dropped."""
    made = []

    class Callback:
        def __call__(self):
            made.append(True)

        def __del__(self):
            dropped.append(True)
            # Whatever a destructor does with the closed loop is refused in order.
            with contextlib.suppress(RuntimeError):
                loop.call_soon(print)

    dropped = []
    loop = _loop()
    loop.call_soon(Callback())
    loop.call_later(1e-9, Callback())
    loop.call_later(1e6, Callback())
    task = loop.create_task(asyncio.sleep(1e6))
    loop.stop()
    loop.run_forever()
    loop.call_soon(Callback())
    loop.close()
    loop.close()
    task._log_destroy_pending = False
    return {"made": len(made), "dropped": len(dropped), "closed": loop.is_closed()}


def dropped():
    """Loops that nobody closed are collected, with their descriptors."""
    before = len(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20):
            loop = _loop()
            loop.call_soon(loop.call_later, 5, loop.stop)
            loop.stop()
            loop.run_forever()
            loop.call_soon(print, loop)
            del loop
        gc.collect()
    unclosed = sum("unclosed event loop" in str(warning.message) for warning in caught)
    # The warnings refer to the loops.
    caught.clear()
    gc.collect()
    return {"left": len(os.listdir("/proc/self/fd")) - before, "warned": unclosed}


def forking():
    """A child that is forked in a callback: the parent's loop goes on, and the child's copy refuses to run."""

    async def main():
        reading, writing = os.pipe()
        others = []
        asyncio.get_running_loop().call_soon(others.append, True)
        pid = os.fork()
        if pid == 0:
            try:
                # The child may have a loop of its own.
                asyncio.set_event_loop(None)
                asyncio._set_running_loop(None)
                own = _loop()
                own.run_until_complete(asyncio.sleep(0.001))
                own.close()
                os.write(writing, b"own")
            finally:
                os._exit(0)
        os.close(writing)
        told = await asyncio.get_running_loop().run_in_executor(None, os.read, reading, 100)
        os.waitpid(pid, 0)
        return [told.decode(), others]

    return tidewaiter.asyncio.run(main())


def returning():
    """A child that is forked in a callback and returns into the loop gets an exception there."""
    reading, writing = os.pipe()
    loop = _loop()
    pids = []
    loop.call_soon(lambda: pids.append(os.fork()))
    loop.call_soon(lambda: os.write(writing, b"made;"))
    loop.call_later(0.01, loop.stop)
    try:
        loop.run_forever()
    except RuntimeError as error:
        os.write(writing, f"{error};".encode())
        os._exit(0)
    os.waitpid(pids[0], 0)
    return os.read(reading, 1000).decode()


def before_running():
    """A loop that is not in a turn can be used by a forked child."""
    loop = _loop()
    loop.run_until_complete(asyncio.sleep(0))
    pid = os.fork()
    if pid == 0:
        loop.run_until_complete(asyncio.sleep(0.001))
        os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    loop.run_until_complete(asyncio.sleep(0.001))
    return status


def _process_work(number):
    async def main():
        await asyncio.sleep(0.001)
        return number * 2

    return tidewaiter.asyncio.run(main())


def processes(method):
    """Processes of `multiprocessing` that run loops of their own, started out of a running loop."""
    from concurrent.futures import ProcessPoolExecutor

    async def main():
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            loop = asyncio.get_running_loop()
            calls = (loop.run_in_executor(pool, _process_work, number) for number in range(4))
            return await asyncio.gather(*calls)

    return tidewaiter.asyncio.run(main())


def daemon():
    """The interpreter ends while a loop runs in a daemon thread: once it waits, and once it is busy."""
    running = threading.Barrier(3)

    def work(busy):
        loop = _loop()

        def again():
            loop.call_soon(again)

        if busy:
            loop.call_soon(again)
        loop.call_soon(running.wait)
        loop.run_forever()

    for busy in (False, True):
        threading.Thread(target=work, args=[busy], daemon=True).start()
    running.wait(20)
    return "over"


def threads():
    """Many threads call in at once: all calls are made, each thread's in its order."""
    loop = _loop()
    each, count = 3000, 6
    made = {number: [] for number in range(count)}

    def call(number, index):
        made[number].append(index)
        if all(len(indices) == each for indices in made.values()):
            loop.stop()

    def work(number):
        for index in range(each):
            loop.call_soon_threadsafe(call, number, index)
            if index % 500 == 0:
                time.sleep(0.001)

    for number in range(count):
        threading.Thread(target=work, args=[number]).start()
    loop.run_forever()
    loop.close()
    return all(indices == list(range(each)) for indices in made.values())


def _resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def leaks(tasks):
    """Tasks, futures, calls and timers, cancelled and failing ones among them, leave no memory behind."""

    async def nothing(number):
        loop = asyncio.get_running_loop()
        timer = loop.call_later(1000, int)
        future = loop.create_future()
        loop.call_soon(future.cancel if number % 7 == 0 else future.set_result, *([] if number % 7 == 0 else [1]))
        try:
            await future
        except asyncio.CancelledError:
            pass
        finally:
            timer.cancel()
        if number % 11 == 0:
            raise ValueError(number)

    async def main(count):
        for start in range(0, count, 500):
            await asyncio.gather(*(nothing(start + number) for number in range(500)), return_exceptions=True)

    loop = _loop()
    loop.run_until_complete(main(5000))
    gc.collect()
    before, objects = _resident(), len(gc.get_objects())
    loop.run_until_complete(main(tasks))
    gc.collect()
    grown, more = _resident() - before, len(gc.get_objects()) - objects
    loop.close()
    return {"bytes_per_task": grown / tasks, "objects": more}


def mischief():
    """Callbacks that raise, cancel, stop and close at random: the loop reports what is to be reported, and goes on."""
    rng = random.Random(int(os.environ.get("TIDEWAITER_SEED", "1")))
    loop = _loop()
    reports, handles = [], []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    def fail():
        raise ValueError

    def cancel_any():
        if handles:
            rng.choice(handles).cancel()

    def refused():
        for call in (loop.run_forever, loop.close, lambda: loop.run_until_complete(loop.create_future())):
            try:
                call()
            except RuntimeError:
                continue
            raise AssertionError("a running loop was run or closed")

    async def cancelled():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    async def swallow():
        try:
            await asyncio.sleep(rng.random() / 100)
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(300):
            for _ in range(20):
                act = rng.choice((fail, cancel_any, refused, gc.collect if rng.random() < 0.01 else int, loop.stop))
                made = rng.choice((loop.call_soon, loop.call_soon_threadsafe, None))
                handle = loop.call_later(rng.random() / 1000, act) if made is None else made(act)
                handles.append(handle)
                task = loop.create_task(rng.choice((cancelled, swallow))())
                if rng.random() < 0.5:
                    loop.call_soon(task.cancel)
            del handles[:-100]
            loop.call_later(0.0005, loop.stop)
            loop.run_forever()
    kinds = sorted({type(report.get("exception")).__name__ for report in reports})
    while pending := asyncio.all_tasks(loop):
        for task in pending:
            task.cancel()
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
    loop.close()
    return kinds


def subinterpreter():
    """A sub-interpreter that imports the package gets an ordinary exception."""
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    identity = interpreters.create()
    code = """if True:
        try:
            import tidewaiter.asyncio
        except ImportError as error:
            assert "subinterpreters" in str(error), error
        else:
            raise AssertionError("it was imported")
    """
    failed = interpreters.run_string(identity, code)
    interpreters.destroy(identity)
    return None if failed is None else str(failed)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    outcome = globals()[name](*(json.loads(argument) for argument in arguments))
    print(json.dumps(outcome), flush=True)
