"""An exception in a callback is logged and costs at most its connection; the loop goes on. Tests every callback."""

import unittest

from support import OURS, ReactorTestCase, needs_posix, ours_only


def _logged(*places):
    return sorted(f"Raised: {place}" for place in places)


class ExceptionsInConnections(ReactorTestCase):
    def test_build_protocol_of_a_server_costs_that_connection_alone(self):
        outcome = self.scenario("exceptions", "server_builds")
        self.assertEqual(outcome["log"], _logged("buildProtocol"))
        self.assertEqual(outcome["received"], "something")
        self.assertEqual(outcome["server"], ["ConnectionDone"])

    def test_build_protocol_of_a_client_closes_the_connection(self):
        outcome = self.scenario("exceptions", "client_builds")
        self.assertEqual(outcome["log"], _logged("buildProtocol"))

    def test_connection_made_of_a_server_is_logged_and_the_connection_goes_on(self):
        outcome = self.scenario("exceptions", "in_server", "connectionMade")
        self.assertEqual(outcome["log"], _logged("connectionMade"))
        self.assertEqual(outcome["server"], ["ConnectionDone"])

    def test_connection_made_of_a_client_loses_the_connection_with_that_failure(self):
        outcome = self.scenario("exceptions", "in_client", "connectionMade")
        self.assertEqual(outcome["log"], _logged("connectionMade"))
        self.assertEqual(outcome["client"], ["Raised"])

    def test_data_received_loses_the_connection_with_that_failure(self):
        for place in ("server", "client"):
            with self.subTest(place):
                outcome = self.scenario("exceptions", f"in_{place}", "dataReceived")
                self.assertEqual(outcome["log"], _logged("dataReceived"))
                self.assertEqual(outcome[place], ["Raised"])

    def test_connection_lost_is_logged(self):
        for place in ("server", "client"):
            with self.subTest(place):
                outcome = self.scenario("exceptions", f"in_{place}", "connectionLost")
                self.assertEqual(outcome["log"], _logged("connectionLost"))
                self.assertEqual(outcome[place], ["ConnectionDone"])

    def test_callbacks_of_a_client_factory_are_logged(self):
        for callback in ("clientConnectionFailed", "clientConnectionLost"):
            with self.subTest(callback):
                outcome = self.scenario("exceptions", "in_client_factory", callback)
                # As a set: Twisted's own transports report a failed connection twice if the first report raises.
                self.assertEqual(set(outcome["log"]), set(_logged(callback)))

    def test_half_closing_loses_the_connection_with_that_failure(self):
        for callback in ("readConnectionLost", "writeConnectionLost"):
            with self.subTest(callback):
                outcome = self.scenario("exceptions", "half_closed", callback)
                self.assertEqual(outcome["log"], _logged(callback))
                self.assertEqual(outcome["server"], ["Raised"])

    def test_a_producer_that_cannot_resume_loses_the_connection(self):
        outcome = self.scenario("exceptions", "producing", "resumeProducing", False)
        self.assertEqual(outcome["log"], _logged("resumeProducing"))

    def test_a_producer_that_cannot_pause_is_told_to_the_writer(self):
        outcome = self.scenario("exceptions", "producing", "pauseProducing", True)
        self.assertEqual(outcome["heard"], ["pauseProducing"])
        self.assertEqual(outcome["log"], [])

    def test_a_producer_that_cannot_stop_is_logged(self):
        outcome = self.scenario("exceptions", "producing", "stopProducing", True)
        self.assertEqual(outcome["log"], _logged("stopProducing"))
        if OURS:
            self.assertEqual(outcome["server"], ["ConnectionLost"])

    @ours_only
    def test_a_producer_that_cannot_stop_hides_no_end_of_a_process(self):
        outcome = self.scenario("exceptions", "producing_for_child")
        self.assertEqual(outcome, {"log": _logged("stopProducing"), "ended": ["ProcessDone"]})


class ExceptionsInCalls(ReactorTestCase):
    def test_timers(self):
        outcome = self.scenario("exceptions", "timers")
        self.assertEqual(outcome, {"log": ["Raised: timer", "SystemExit: 3"], "fired": ["same turn", "later"]})

    def test_calls_from_threads(self):
        outcome = self.scenario("exceptions", "calls_from_thread")
        self.assertEqual(outcome["log"], _logged("callFromThread", "from another thread"))
        self.assertEqual(outcome["made"], ["second", "third"])

    def test_calls_when_running(self):
        outcome = self.scenario("exceptions", "when_running")
        self.assertEqual(outcome, {"log": _logged("callWhenRunning"), "heard": ["while running"]})

    def test_triggers(self):
        phases = [f"{phase} {event}" for event in ("startup", "shutdown") for phase in ("before", "during", "after")]
        outcome = self.scenario("exceptions", "triggers")
        self.assertEqual(outcome["made"], phases)
        self.assertEqual(outcome["log"], _logged(*phases))

    def test_threads(self):
        outcome = self.scenario("exceptions", "in_threads")
        self.assertEqual(outcome, {"log": _logged("callInThread"), "heard": ["deferToThread"]})


class ExceptionsInDescriptors(ReactorTestCase):
    @needs_posix
    def test_reading_and_writing_lose_the_descriptor_with_that_failure(self):
        for method in ("doRead", "doWrite"):
            with self.subTest(method):
                outcome = self.scenario("exceptions", "descriptors", method)
                self.assertEqual(outcome, {"log": _logged(method), "lost": ["Raised"], "known": False})

    @needs_posix
    def test_connection_lost_is_logged(self):
        outcome = self.scenario("exceptions", "descriptors", "connectionLost")
        self.assertEqual(outcome, {"log": _logged("connectionLost"), "lost": ["ConnectionDone"], "known": False})


class ExceptionsInProcesses(ReactorTestCase):
    METHODS = (
        "connectionMade",
        "outReceived",
        "errReceived",
        "inConnectionLost",
        "outConnectionLost",
        "errConnectionLost",
        "processExited",
        "processEnded",
    )

    def test_every_method_of_a_process_protocol_is_logged_and_the_process_is_heard_to_its_end(self):
        for method in self.METHODS:
            with self.subTest(method):
                outcome = self.scenario("exceptions", "child", method)
                self.assertEqual(outcome["log"], _logged(method))
                self.assertEqual(outcome["heard"], sorted(self.METHODS))
                self.assertEqual(outcome["last"], "processEnded")


if __name__ == "__main__":
    unittest.main()
