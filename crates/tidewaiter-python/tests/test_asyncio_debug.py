"""The asyncio loop's debug mode, clocks, factories, signals and reports."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
import unittest

import tidewaiter.asyncio
from support import needs_posix
from test_asyncio_loop import LoopTestCase


class Debug(LoopTestCase):
    def setUp(self):
        super().setUp()
        self.loop.set_debug(True)

    def test_slow_calls_and_tasks_are_named(self):
        self.loop.slow_callback_duration = 0.01

        async def slow_task():
            time.sleep(0.02)
            await asyncio.sleep(0)

        with self.assertLogs("asyncio", logging.WARNING) as logged:
            self.loop.call_soon(time.sleep, 0.02)
            self.loop.run_until_complete(slow_task())
        text = "\n".join(logged.output)
        self.assertRegex(text, r"Executing <Handle sleep\(0.02\) created at .*> took \d+\.\d+ seconds")
        self.assertRegex(text, r"Executing <Task .*slow_task.*> took \d+\.\d+ seconds")

    def test_handles_tell_where_they_were_made(self):
        for handle in (self.loop.call_soon(print), self.loop.call_later(1, print)):
            self.assertIn(f"created at {__file__}:", repr(handle))
            handle.cancel()
            self.assertIn("print()", repr(handle))

    def test_calls_from_the_wrong_thread_are_refused(self):
        outcomes = []

        def work():
            for call in (self.loop.call_soon, lambda callback: self.loop.call_later(1, callback)):
                try:
                    call(print)
                except RuntimeError as error:
                    outcomes.append(str(error))
            self.loop.call_soon_threadsafe(self.loop.stop)

        self.loop.call_soon(threading.Thread(target=work).start)
        self.loop.run_forever()
        self.assertEqual(len(outcomes), 2)
        self.assertIn("Non-thread-safe operation", outcomes[0])

    def test_coroutines_are_no_callbacks(self):
        async def coroutine():
            pass

        for call in (self.loop.call_soon, self.loop.call_soon_threadsafe):
            with self.assertRaisesRegex(TypeError, "coroutines cannot be used"):
                call(coroutine)
            with self.assertRaisesRegex(TypeError, "a callable object was expected"):
                call(5)

    def test_an_exception_is_reported_with_its_origin(self):
        self.loop.call_soon(lambda: 1 / 0)
        self.run_turns()
        (report,) = self.reports
        self.assertEqual(report["source_traceback"][-1].filename, __file__)


class Clocks(LoopTestCase):
    def test_the_clock_is_pythons_monotonic_clock(self):
        # The clocks' steps on Windows are coarse.
        step = 0.1 if sys.platform == "win32" else 0.001
        before = time.monotonic()
        now = self.loop.time()
        after = time.monotonic()
        self.assertGreaterEqual(now, before - step)
        self.assertLessEqual(now, after + step)

    def test_calls_follow_a_clock_that_was_replaced(self):
        made = []
        self.loop.call_later(1000, made.append, "before")
        now = self.loop.time()
        self.loop.time = lambda: now
        self.loop.call_later(2000, made.append, "after")
        self.loop.call_at(now, made.append, "now")
        self.run_turns()
        self.assertEqual(made, ["now"])
        now += 1500
        self.run_turns()
        self.assertEqual(made, ["now", "before"])
        del self.loop.time
        self.run_turns()
        self.assertEqual(made, ["now", "before"])

    def test_calls_follow_the_clock_of_a_subclass(self):
        class Simulated(tidewaiter.asyncio.Loop):
            now = 5.0

            def time(self):
                return self.now

        loop = Simulated()
        self.addCleanup(loop.close)

        async def main():
            loop.call_soon(setattr, loop, "now", 3605.0)
            await asyncio.sleep(3600)
            return loop.time()

        self.assertEqual(loop.run_until_complete(main()), 3605.0)


class Replaced(LoopTestCase):
    def test_calls_of_tasks_go_through_a_replaced_call_soon(self):
        original, calls = self.loop.call_soon, []

        def call_soon(callback, *args, context=None):
            calls.append(callback)
            return original(callback, *args, context=context)

        self.loop.call_soon = call_soon
        self.loop.run_until_complete(asyncio.sleep(0))
        self.assertGreater(len(calls), 1)

    def test_a_task_factory_makes_the_tasks(self):
        made = []

        def factory(loop, coro, **kwargs):
            made.append(kwargs)
            return asyncio.Task(coro, loop=loop, **kwargs)

        self.loop.set_task_factory(factory)
        self.assertIs(self.loop.get_task_factory(), factory)
        self.loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(len(made), 1)
        self.loop.set_task_factory(None)
        self.loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(len(made), 1)

    @unittest.skipIf(sys.version_info < (3, 12), "Python 3.12 brought eager tasks")
    def test_eager_tasks(self):
        order = []

        async def step(name):
            order.append(name)

        async def main():
            self.loop.set_task_factory(asyncio.eager_task_factory)
            task = asyncio.create_task(step("eager"), name="mine")
            order.append("main")
            self.assertEqual(task.get_name(), "mine")
            await task

        self.loop.run_until_complete(main())
        self.assertEqual(order, ["eager", "main"])

    def test_tasks_have_names_and_the_class_that_asyncio_has(self):
        async def main():
            task = self.loop.create_task(asyncio.sleep(0), name="mine")
            self.assertEqual(task.get_name(), "mine")
            await task

        self.loop.run_until_complete(main())
        self.loop.close()
        coroutine = asyncio.sleep(0)
        with self.assertRaisesRegex(RuntimeError, "Event loop is closed"):
            self.loop.create_task(coroutine)
        coroutine.close()


class Turns(LoopTestCase):
    def test_loops_are_not_nested(self):
        async def main():
            for run in (self.loop.run_forever, tidewaiter.asyncio.Loop(self.port).run_forever):
                with self.assertRaisesRegex(RuntimeError, "loop is (already )?running|while another loop is running"):
                    run()
            nested = asyncio.sleep(0)
            with self.assertRaisesRegex(RuntimeError, r"run\(\) cannot be called from a running event loop"):
                tidewaiter.asyncio.run(nested)
            nested.close()
            with self.assertRaisesRegex(RuntimeError, "Cannot close a running event loop"):
                self.loop.close()

        self.loop.run_until_complete(main())
        # The loop that was refused.
        import gc
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def test_loops_run_in_threads(self):
        results = []

        def work(number):
            async def main():
                await asyncio.sleep(0.01)
                return number

            results.append(tidewaiter.asyncio.run(main()))

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        self.assertEqual(sorted(results), list(range(8)))

    def test_asynchronous_generators_are_shut_down(self):
        closed = []

        async def numbers():
            try:
                while True:
                    yield 1
            finally:
                closed.append(True)

        async def main():
            kept.append(numbers())
            await kept[0].__anext__()

        kept = []
        self.loop.run_until_complete(main())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.assertEqual(closed, [True])

    def test_the_executor_answers(self):
        async def main():
            return await asyncio.gather(*(self.loop.run_in_executor(None, lambda n=n: n) for n in range(50)))

        self.assertEqual(self.loop.run_until_complete(main()), list(range(50)))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())

    @unittest.skipIf(sys.version_info < (3, 13), "Python 3.12 brought the limit, but its first versions do not heed it")
    def test_the_end_of_the_executor_has_a_limit(self):
        release = threading.Event()
        self.addCleanup(release.set)
        self.loop.run_in_executor(None, release.wait, 60)
        started = time.monotonic()
        with self.assertWarnsRegex(RuntimeWarning, "executor did not finish"):
            self.loop.run_until_complete(self.loop.shutdown_default_executor(timeout=0.05))
        self.assertLess(time.monotonic() - started, 30)
        with self.assertRaisesRegex(RuntimeError, "Executor shutdown has been called"):
            self.loop.run_in_executor(None, print)

    def test_metrics_count_calls(self):
        before = self.loop.metrics()["ready_calls_made"]
        timer = self.loop.call_later(1e6, print)
        self.loop.call_soon(int)
        self.assertEqual([self.loop.metrics()[name] for name in ("ready_calls", "delayed_calls")], [1, 1])
        timer.cancel()
        self.run_turns()
        metrics = self.loop.metrics()
        self.assertEqual(metrics["ready_calls_made"] - before, 1)
        self.assertEqual([metrics[name] for name in ("ready_calls", "delayed_calls")], [0, 0])


class SlowCalls(LoopTestCase):
    def test_outside_of_debug_mode_a_warning_names_the_task_and_its_await(self):
        self.loop.slow_callback = 0.01

        async def slow():
            time.sleep(0.02)
            await asyncio.sleep(0.001)

        with self.assertLogs("asyncio", logging.WARNING) as logged:
            self.loop.run_until_complete(slow())
            self.loop.call_soon(time.sleep, 0.02)
            self.run_turns()
        text = "\n".join(logged.output)
        self.assertRegex(
            text, r"<Task .*slow\(\).*> blocked the loop for \d+\.\d+ seconds; it awaits .*test_asyncio_debug.py:\d+"
        )
        self.assertRegex(text, r"sleep.* blocked the loop for \d+\.\d+ seconds")
        self.assertGreaterEqual(self.loop.metrics()["slow_callbacks"], 2)

    def test_limits_that_are_no_numbers_are_refused(self):
        for limit in (-1.0, float("nan")):
            with self.assertRaises(ValueError):
                self.loop.slow_callback = limit
        self.loop.slow_callback = None
        self.assertIsNone(self.loop.slow_callback)


@needs_posix
class Signals(LoopTestCase):
    def test_a_wakeup_descriptor_that_was_closed_is_replaced(self):
        ours, pythons = socket.socketpair()
        pythons.setblocking(False)
        signal.set_wakeup_fd(pythons.fileno())
        pythons.close()
        ours.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    def test_a_signal_calls_its_handler_in_the_loop(self):
        calls = []

        def handler(*args):
            calls.append(args)
            self.loop.stop()

        self.loop.add_signal_handler(signal.SIGUSR1, handler, 1, 2)
        self.loop.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        self.loop.run_forever()
        self.assertEqual(calls, [(1, 2)])
        self.assertTrue(self.loop.remove_signal_handler(signal.SIGUSR1))
        self.assertFalse(self.loop.remove_signal_handler(signal.SIGUSR1))
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)

    def test_a_signal_between_two_runs_is_not_lost(self):
        calls = []
        self.loop.add_signal_handler(signal.SIGUSR1, calls.append, True)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.loop.call_later(0.05, self.loop.stop)
        self.loop.run_forever()
        self.assertEqual(calls, [True])

    def test_what_cannot_be_handled_is_refused(self):
        for number in (signal.SIGKILL, signal.SIGSTOP):
            with self.assertRaisesRegex(RuntimeError, f"sig {number} cannot be caught"):
                self.loop.add_signal_handler(number, print)
        for number in (0, -1, 1000):
            with self.assertRaises(ValueError):
                self.loop.add_signal_handler(number, print)
        with self.assertRaises(TypeError):
            self.loop.add_signal_handler(1.2, print)

    def test_the_wakeup_descriptor_is_given_back(self):
        self.run_turns()
        self.assertEqual(signal.set_wakeup_fd(-1), -1)
        self.loop.add_signal_handler(signal.SIGUSR1, print)
        self.run_turns()
        self.loop.close()
        self.assertEqual(signal.set_wakeup_fd(-1), -1)
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)

    def test_another_thread_may_not_add_handlers(self):
        outcomes = []

        def work():
            try:
                self.loop.add_signal_handler(signal.SIGUSR1, print)
            except RuntimeError as error:
                outcomes.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertIn("main thread", outcomes[0])


if __name__ == "__main__":
    unittest.main()
