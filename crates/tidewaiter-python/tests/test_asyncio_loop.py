"""The asyncio loop: calls soon and later, their order, errors and handles."""

import asyncio
import contextvars
import gc
import sys
import threading
import unittest
import weakref

import tidewaiter.asyncio
from support import ports
from tidewaiter.asyncio._loop import PRIVATE_NAMES


class LoopTestCase(unittest.TestCase):
    """Tests on a loop of their own, which they leave closed."""

    port = None

    def setUp(self):
        self.loop = tidewaiter.asyncio.Loop(self.port)
        self.addCleanup(self.loop.close)
        self.reports = []
        self.loop.set_exception_handler(lambda loop, context: self.reports.append(context))

    def run_turns(self, turns=1):
        for _ in range(turns):
            self.loop.stop()
            self.loop.run_forever()


class Calls(LoopTestCase):
    def test_calls_are_made_in_the_order_of_asking(self):
        order = []
        self.loop.call_later(0, order.append, "later")
        self.loop.call_soon(order.append, "soon")
        self.loop.call_soon_threadsafe(order.append, "threadsafe")
        self.run_turns()
        self.assertEqual(order, ["soon", "threadsafe", "later"])

    def test_calls_that_a_call_adds_wait_for_the_next_turn(self):
        order = []

        def first():
            order.append("first")
            self.loop.call_soon(order.append, "added")

        self.loop.call_soon(first)
        self.loop.call_soon(order.append, "second")
        self.run_turns()
        self.assertEqual(order, ["first", "second"])
        self.run_turns()
        self.assertEqual(order, ["first", "second", "added"])

    def test_delayed_calls_are_made_by_their_time(self):
        order = []
        for delay in (0.03, 0.01, 0.02, 0.0, -1.0):
            self.loop.call_later(delay, order.append, delay)
        self.loop.call_later(0.04, self.loop.stop)
        self.loop.run_forever()
        self.assertEqual(order, [-1.0, 0.0, 0.01, 0.02, 0.03])

    def test_no_delayed_call_is_made_early(self):
        early = []

        def check(due):
            if self.loop.time() < due:
                early.append(due)

        for microseconds in range(0, 3000, 7):
            due = self.loop.time() + microseconds / 1e6
            self.loop.call_at(due, check, due)
        self.loop.call_later(0.004, self.loop.stop)
        self.loop.run_forever()
        self.assertEqual(early, [])

    def test_a_call_runs_in_its_context(self):
        variable = contextvars.ContextVar("variable", default="none")
        seen = []
        variable.set("outer")
        self.loop.call_soon(lambda: seen.append(variable.get()))
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        self.loop.call_soon(lambda: seen.append(variable.get()), context=context)
        self.loop.call_later(0, lambda: seen.append(variable.get()), context=context)
        variable.set("changed")
        self.run_turns()
        self.assertEqual(seen, ["outer", "given", "given"])

    def test_a_call_from_a_thread_has_a_context_of_its_own(self):
        variable = contextvars.ContextVar("variable", default="none")
        variable.set("the loop's")
        seen = []
        handles = []

        def call():
            seen.append(variable.get())
            variable.set("the call's")
            seen.append(handles[-1].get_context()[variable])

        def ask():
            handles.append(self.loop.call_soon_threadsafe(call))

        def ask_with_a_value():
            variable.set("the thread's")
            ask()

        for target in (ask, ask, ask_with_a_value):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
            self.run_turns()
        self.assertEqual(seen, ["none", "the call's"] * 2 + ["the thread's", "the call's"])
        contexts = [handle.get_context() for handle in handles]
        self.assertEqual([handle.get_context() for handle in handles], contexts)
        self.assertEqual(len(set(map(id, contexts))), 3)
        self.assertEqual(variable.get(), "the loop's")

    def test_an_exception_goes_to_the_exception_handler_with_its_handle(self):
        handle = self.loop.call_soon(lambda: 1 / 0)
        made = []
        self.loop.call_soon(made.append, True)
        self.run_turns()
        (report,) = self.reports
        self.assertIsInstance(report["exception"], ZeroDivisionError)
        self.assertIs(report["handle"], handle)
        self.assertIn("Exception in callback", report["message"])
        self.assertEqual(made, [True])

    def test_an_interrupt_leaves_the_loop_which_goes_on_afterwards(self):
        for kind in (KeyboardInterrupt, SystemExit):
            with self.subTest(kind.__name__):
                made = []

                def interrupt(kind=kind):
                    raise kind

                self.loop.call_soon(interrupt)
                self.loop.call_soon(made.append, True)
                with self.assertRaises(kind):
                    self.loop.run_forever()
                self.assertFalse(self.loop.is_running())
                self.run_turns()
                self.assertEqual(made, [True])
        self.assertEqual(self.reports, [])

    def test_a_closed_loop_takes_no_calls(self):
        self.loop.close()
        for call in (self.loop.call_soon, self.loop.call_soon_threadsafe):
            with self.assertRaisesRegex(RuntimeError, "^Event loop is closed$"):
                call(print)
        for call in (self.loop.call_later, self.loop.call_at):
            with self.assertRaisesRegex(RuntimeError, "^Event loop is closed$"):
                call(1.0, print)
        with self.assertRaisesRegex(RuntimeError, "^Event loop is closed$"):
            self.loop.run_forever()

    def test_another_thread_ends_the_wait(self):
        threading.Timer(0.01, self.loop.call_soon_threadsafe, [self.loop.stop]).start()
        self.loop.run_forever()
        # Asyncio forbids this, and still makes the call at some time.
        threading.Timer(0.01, self.loop.call_later, [0.01, self.loop.stop]).start()
        self.loop.run_forever()

    def test_a_future_is_made_without_python_code(self):
        self.loop.set_debug(False)
        self.loop.create_future()  # Imports what it needs.
        # The garbage of other tests may have finalizers in Python.
        gc.disable()
        self.addCleanup(gc.enable)
        entered = []
        sys.setprofile(lambda frame, event, _: entered.append(frame.f_code.co_name) if event == "call" else None)
        try:
            self.loop.create_future()
        finally:
            sys.setprofile(None)
        self.assertEqual(entered, [])


class Handles(LoopTestCase):
    def test_they_are_of_asyncios_classes(self):
        handle, timer = self.loop.call_soon(print), self.loop.call_later(1.0, print)
        self.assertIsInstance(handle, asyncio.Handle)
        self.assertNotIsInstance(handle, asyncio.TimerHandle)
        self.assertIsInstance(timer, asyncio.TimerHandle)

    def test_a_cancelled_call_is_not_made(self):
        made = []
        for handle in (self.loop.call_soon(made.append, 1), self.loop.call_later(0.001, made.append, 2)):
            self.assertFalse(handle.cancelled())
            handle.cancel()
            handle.cancel()
            self.assertTrue(handle.cancelled())
        self.loop.call_later(0.01, self.loop.stop)
        self.loop.run_forever()
        self.assertEqual(made, [])

    def test_a_weak_reference_ends_with_its_handle(self):
        for schedule in (self.loop.call_soon, lambda call: self.loop.call_later(0, call)):
            dropped = weakref.ref(schedule(lambda: None))
            kept = schedule(lambda: None)
            reference = weakref.ref(kept)
            self.assertIsNotNone(dropped())
            self.run_turns()
            self.assertIs(reference(), kept)
            del kept
            self.assertIsNone(reference())
            later = [self.loop.call_soon(lambda: None) for _ in range(3)]
            self.assertIsNone(dropped())
            for handle in later:
                self.assertEqual(weakref.getweakrefcount(handle), 0)
            self.run_turns()

    def test_a_weak_reference_may_be_made_during_the_call(self):
        found = []
        handles = []

        def call():
            found.append(weakref.ref(handles.pop()))

        handles.append(self.loop.call_soon(call))
        self.run_turns()
        self.assertIsNone(found[0]())

    def test_timers_compare_by_their_time(self):
        first, second = self.loop.call_at(1e9, print), self.loop.call_at(2e9, print)
        same = self.loop.call_at(1e9, print)
        self.assertEqual([first < second, first <= second, first > second, first >= second], [True, True, False, False])
        self.assertEqual([first == same, first != same, first == second], [True, False, False])
        self.assertEqual(hash(first), hash(same))
        self.assertEqual(first.when(), 1e9)
        self.assertIs(first.__eq__(1), NotImplemented)

    def test_cancelled_timers_do_not_pile_up(self):
        kept = [self.loop.call_later(1e6 + number, print) for number in range(10)]
        for number in range(10_000):
            self.loop.call_later(1e3 + number, print).cancel()
        self.assertEqual(self.loop.metrics()["delayed_calls"], len(kept))


class Names(unittest.TestCase):
    def test_asyncio_has_the_private_names_that_the_loop_uses(self):
        missing = [name for name in PRIVATE_NAMES if not hasattr(asyncio.BaseEventLoop, name)]
        self.assertEqual(missing, [], "this Python's BaseEventLoop lacks names that tidewaiter.asyncio uses")


def load_tests(loader, tests, pattern):
    """Runs the tests of the loop on each port."""
    suite = unittest.TestSuite([loader.loadTestsFromTestCase(Names)])
    for port in ports():
        for kind in (Calls, Handles):
            on_port = type(f"{kind.__name__}_{port}", (kind,), {"port": port})
            suite.addTests(loader.loadTestsFromTestCase(on_port))
    return suite


if __name__ == "__main__":
    unittest.main()
