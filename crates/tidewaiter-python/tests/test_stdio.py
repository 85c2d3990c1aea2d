"""Standard input and output through the port."""

import os
import subprocess
import sys
import tempfile
import unittest

import support
from support import needs_posix, on, ports

# Each program ends with a line that says how its connection was lost.
BEGINNING = """
import sys
import tidewaiter.twisted
reactor = tidewaiter.twisted.install()
from twisted.internet import interfaces, protocol
from zope.interface import implementer

class Program(protocol.Protocol):
    def connectionLost(self, reason):
        sys.stdout.buffer.write(f"\\n{reason.type.__name__}".encode())
        sys.stdout.flush()
        reactor.stop()
"""
END = """
tidewaiter.twisted.StandardIO(Program())
reactor.run()
"""
ECHO = BEGINNING + "    def dataReceived(self, data): self.transport.write(data)\n" + END
HALF = (
    BEGINNING
    + """
@implementer(interfaces.IHalfCloseableProtocol)
class Program(Program):
    ends = 0
    def connectionMade(self):
        self.transport.write(b"first")
        self.transport.loseWriteConnection()
    def dataReceived(self, data):
        print(data.decode(), end="", flush=True)
    def ended(self):
        self.ends += 1
        if self.ends == 2:
            self.transport.loseConnection()
    readConnectionLost = writeConnectionLost = ended
"""
    + END
)
REPLACED = """
import tidewaiter.twisted
tidewaiter.twisted.install()
from twisted.internet import stdio
print(stdio.StandardIO is tidewaiter.twisted.StandardIO)
"""


@support.ours_only
class StandardStreams(unittest.TestCase):
    def run_program(self, program, port, **options):
        """The output of a program, which must end well."""
        command = [sys.executable, "-c", program]
        environment = {**os.environ, **on(port)}
        finished = subprocess.run(command, env=environment, stderr=subprocess.PIPE, timeout=60, check=False, **options)
        self.assertEqual((finished.returncode, finished.stderr), (0, b""))
        return finished.stdout

    def test_pipes_carry_everything_before_the_end_is_told(self):
        data = bytes(range(251)) * 20_000
        for port in ports():
            with self.subTest(port):
                output = self.run_program(ECHO, port, input=data, stdout=subprocess.PIPE)
                echoed, _, rest = output.rpartition(b"\nConnectionDone")
                self.assertTrue(echoed == data, f"{len(echoed)} bytes")
                self.assertEqual(rest.strip(), b"")

    def test_files_carry_everything(self):
        data = bytes(range(251)) * 20_000
        for port in ports():
            with self.subTest(port), tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
                source.write(data)
                source.seek(0)
                self.run_program(ECHO, port, stdin=source, stdout=target)
                target.seek(0)
                echoed, _, _ = target.read().rpartition(b"\nConnectionDone")
                self.assertTrue(echoed == data, f"{len(echoed)} bytes")

    def test_output_ends_while_input_goes_on(self):
        for port in ports():
            with self.subTest(port):
                output = self.run_program(HALF, port, input=b"second", stdout=subprocess.PIPE)
                said, ended = output.split()
                self.assertEqual((sorted(said), ended), (sorted(b"firstsecond"), b"ConnectionDone"))

    @needs_posix
    def test_descriptors_that_others_share_block_as_before(self):
        for port in ports():
            with self.subTest(port):
                (source, to), (back, target) = os.pipe(), os.pipe()
                os.write(to, b"!")
                os.close(to)
                self.run_program(ECHO, port, stdin=source, stdout=target)
                self.assertTrue(os.get_blocking(source) and os.get_blocking(target))
                self.assertEqual(os.read(back, 1), b"!")
                for number in (source, back, target):
                    os.close(number)

    @unittest.skipIf(support.WINDOWS, "the module needs pywin32 there")
    def test_installing_the_reactor_replaces_that_of_twisted(self):
        output = self.run_program(REPLACED, None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.assertEqual(output.strip(), b"True")


if __name__ == "__main__":
    unittest.main()
