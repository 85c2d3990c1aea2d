"""Parts of Twisted that rest on datagrams, UNIX sockets, adopted sockets and watched descriptors."""

import os
import re
import socket
import sys
import tempfile
import unittest

import support
from support import ReactorTestCase, needs_posix, on, ports


@needs_posix
class Applications(ReactorTestCase):
    def assertOnEach(self, expected, function, *names):
        for port in ports():
            with self.subTest(port), tempfile.TemporaryDirectory() as folder:
                paths = [os.path.join(folder, name) if name else folder for name in names]
                self.assertEqual(self.scenario("applications", function, *paths, environment=on(port)), expected)

    def test_a_name_server_answers(self):
        self.assertOnEach({"answers": ["192.0.2.7", "192.0.2.7"], "log": []}, "names", "hosts")

    def test_an_ssh_agent_tells_its_keys(self):
        self.assertOnEach({"answers": [True, "a comment", True], "log": []}, "agent", "socket")

    @unittest.skipUnless(sys.platform == "linux", "needs inotify")
    def test_changes_of_files_are_told(self):
        self.assertOnEach({"names": ["file"], "log": []}, "notified", "")

    def test_sockets_of_the_service_manager_are_taken_over(self):
        self.assertOnEach({"answers": ["answer", "answer"], "log": []}, "activated", "")

    def test_twistd_serves_names(self):
        with tempfile.TemporaryDirectory() as folder:
            hosts = os.path.join(folder, "hosts")
            with open(hosts, "w") as file:
                file.write("192.0.2.7 host.example.org\n")
            code = "import sys; sys.argv[0] = 'tool'; from twisted.scripts.twistd import run; run()"
            arguments = ["--reactor", support.REACTOR, "--nodaemon", "--pidfile="]
            service = ["dns", "--interface", "127.0.0.1", "--port", "0", "--hosts-file", hosts]
            process = support.Process([sys.executable, "-c", code, *arguments, *service], folder=folder)
            found = process.wait_for(lambda: re.search(r"DNSDatagramProtocol starting on (\d+)", process.output()))
            query = b"\0\1\1\0\0\1\0\0\0\0\0\0\4host\7example\3org\0\0\1\0\1"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.sendto(query, ("127.0.0.1", int(found[1])))
                answer = client.recv(1000)
            process.signal(2)
            process.finish()
            self.assertTrue(answer.endswith(bytes([192, 0, 2, 7])), answer)


if __name__ == "__main__":
    unittest.main()
