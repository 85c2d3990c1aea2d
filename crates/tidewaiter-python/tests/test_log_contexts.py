"""Protocols are called in contexts with their names for the log, as by Twisted's own reactors."""

import unittest

from support import ReactorTestCase


class LogContexts(ReactorTestCase):
    def test_each_connection_has_its_own_name_also_in_threads(self):
        outcome = self.scenario("log_contexts", "names", 20)
        self.assertEqual(outcome, {"wrong": [], "last": ["thread", True], "log": []})


if __name__ == "__main__":
    unittest.main()
