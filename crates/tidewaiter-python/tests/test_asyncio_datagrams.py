"""Datagram transports of the asyncio loop."""

import asyncio
import contextvars
import gc
import os
import socket
import tempfile
import unittest

from support import WINDOWS, needs_fork, needs_posix, ports
from test_asyncio_loop import LoopTestCase

ADDRESS = "127.0.0.1"
GROUP = "239.255.71.13"


class Peer(asyncio.DatagramProtocol):
    """Records what it is told."""

    def __init__(self, loop):
        self.ended = loop.create_future()
        self.received = []
        self.errors = []
        self.flow = []
        self.lost = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.received.append((data, addr))

    def error_received(self, exc):
        self.errors.append(exc)

    def pause_writing(self):
        self.flow.append("pause")

    def resume_writing(self):
        self.flow.append("resume")

    def connection_lost(self, exc):
        self.lost.append(exc)
        self.ended.set_result(None)


class DatagramTestCase(LoopTestCase):
    def setUp(self):
        super().setUp()
        self.transports = []
        self.addCleanup(self.close)

    def close(self):
        for transport in self.transports:
            transport.abort()
        if not self.loop.is_closed():
            self.run_turns(5)

    def wait(self, awaitable):
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, 10))

    def until(self, what):
        async def turns():
            while not what():
                await asyncio.sleep(0.001)

        self.wait(turns())

    def open(self, protocol=Peer, **options):
        """A transport and its protocol."""
        made = self.loop.create_datagram_endpoint(lambda: protocol(self.loop), **options)
        transport, peer = self.wait(made)
        self.transports.append(transport)
        return transport, peer

    def server(self, protocol=Peer, host=ADDRESS):
        transport, peer = self.open(protocol, local_addr=(host, 0))
        return transport, peer, transport.get_extra_info("sockname")


class Echo(Peer):
    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data.upper(), addr)


class Datagrams(DatagramTestCase):
    def check_exchange(self, host):
        server, echo, address = self.server(Echo, host)
        self.assertIsInstance(server, asyncio.DatagramTransport)
        client, connected = self.open(remote_addr=address[:2])
        for data in (b"one", bytearray(b"two"), memoryview(b"three"), b""):
            client.sendto(data)
        client.sendto(b"named", address)
        self.until(lambda: len(connected.received) == 5)
        self.assertEqual([data for data, _ in connected.received], [b"ONE", b"TWO", b"THREE", b"", b"NAMED"])
        self.assertEqual({addr for _, addr in connected.received}, {address})
        free, unconnected = self.open(local_addr=(host, 0))
        free.sendto(b"free", address)
        self.until(lambda: unconnected.received)
        self.assertEqual(echo.received[-1], (b"free", free.get_extra_info("sockname")))
        self.assertEqual(client.get_extra_info("peername"), address)
        self.assertIsNone(free.get_extra_info("peername"))
        self.assertEqual(client.get_extra_info("socket").family, server.get_extra_info("socket").family)

    def test_datagrams_come_with_their_senders(self):
        self.check_exchange(ADDRESS)

    def test_datagrams_come_over_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as skt:
                skt.bind(("::1", 0))
        except OSError:
            self.skipTest("this machine has no IPv6")
        self.check_exchange("::1")

    def test_many_datagrams_of_one_turn_keep_their_order(self):
        _, peer, address = self.server()
        client, _ = self.open(remote_addr=address[:2])
        sent = [b"%d" % number * (1 + number % 50) for number in range(100)]
        for data in sent:
            client.sendto(data)
        self.until(lambda: len(peer.received) == len(sent))
        self.assertEqual([data for data, _ in peer.received], sent)

    def test_hosts_may_have_names(self):
        _, peer, address = self.server()
        client, _ = self.open(local_addr=(ADDRESS, 0))
        client.sendto(b"x", ("localhost", address[1]))
        self.until(lambda: peer.received)

    def test_wrong_destinations_and_data_are_refused(self):
        _, _, address = self.server()
        client, peer = self.open(remote_addr=address[:2])
        with self.assertRaises(ValueError):
            client.sendto(b"x", (ADDRESS, address[1] + 1))
        with self.assertRaises(TypeError):
            client.sendto("text")
        with self.assertRaises(ValueError):
            client.set_write_buffer_limits(high=1, low=2)
        free, other = self.open(local_addr=(ADDRESS, 0))
        free.sendto(b"x")
        self.assertIsInstance(other.errors[0], OSError)
        self.assertEqual(peer.errors, [])

    def test_the_refusal_of_a_peer_is_told_and_the_transport_goes_on(self):
        server, _, address = self.server()
        client, peer = self.open(remote_addr=address[:2])
        server.abort()
        self.run_turns(5)
        self.until(lambda: client.sendto(b"x") or len(peer.errors) >= 2)
        self.assertIsInstance(peer.errors[0], ConnectionRefusedError if not WINDOWS else OSError)
        again, heard = self.open(local_addr=address)
        self.until(lambda: client.sendto(b"again") or heard.received)
        self.assertEqual(peer.lost, [])

    def test_a_datagram_that_is_too_large_is_an_error_of_that_one(self):
        _, heard, address = self.server()
        client, peer = self.open(remote_addr=address[:2])
        client.sendto(bytes(100_000))
        self.until(lambda: peer.errors)
        client.sendto(b"x")
        self.until(lambda: heard.received)
        self.assertEqual(len(peer.errors), 1)

    def test_what_a_protocol_raises_is_reported_and_the_transport_goes_on(self):
        class Failing(Peer):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                raise ValueError(data)

        server, peer, address = self.server(Failing)
        client, _ = self.open(remote_addr=address[:2])
        client.sendto(b"a")
        client.sendto(b"b")
        self.until(lambda: len(peer.received) == 2)
        self.assertEqual([str(report["exception"]) for report in self.reports], ["b'a'", "b'b'"])
        self.assertIs(self.reports[0]["transport"], server)
        self.assertIs(self.reports[0]["protocol"], peer)

    def test_an_interrupt_leaves_the_loop(self):
        class Interrupting(Peer):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                raise KeyboardInterrupt

        _, peer, address = self.server(Interrupting)
        client, _ = self.open(remote_addr=address[:2])
        client.sendto(b"a")
        with self.assertRaises(KeyboardInterrupt):
            self.until(lambda: False)
        self.assertEqual(len(peer.received), 1)
        gc.collect()

    def test_callbacks_run_in_the_context_of_the_transport(self):
        variable = contextvars.ContextVar("variable", default="none")

        class Context(Peer):
            def datagram_received(self, data, addr):
                super().datagram_received(variable.get(), addr)

            def connection_lost(self, exc):
                self.received.append((variable.get(), None))
                super().connection_lost(exc)

        async def open_in_context():
            variable.set("the transport's")
            return await self.loop.create_datagram_endpoint(lambda: Context(self.loop), local_addr=(ADDRESS, 0))

        transport, peer = self.wait(open_in_context())
        client, _ = self.open(remote_addr=transport.get_extra_info("sockname")[:2])
        client.sendto(b"x")
        self.until(lambda: peer.received)
        transport.close()
        self.wait(peer.ended)
        self.assertEqual([value for value, _ in peer.received], ["the transport's"] * 2)

    def test_a_pause_holds_back_what_comes(self):
        server, peer, address = self.server()
        client, _ = self.open(remote_addr=address[:2])
        self.assertTrue(server.is_reading())
        server.pause_reading()
        self.assertFalse(server.is_reading())
        client.sendto(b"x")
        self.run_turns(5)
        self.assertEqual(peer.received, [])
        server.resume_reading()
        self.until(lambda: peer.received)

    def test_closing_tells_the_protocol_and_frees_the_address(self):
        server, peer, address = self.server()
        server.close()
        server.close()
        self.assertTrue(server.is_closing())
        self.assertEqual(peer.lost, [])
        self.wait(peer.ended)
        self.assertEqual(peer.lost, [None])
        self.assertIn("closed", repr(server))
        for _ in range(10):
            server.sendto(b"x", address)
        again, _ = self.open(local_addr=address)
        self.assertEqual(again.get_extra_info("sockname"), address)

    def test_what_was_sent_before_closing_arrives(self):
        _, heard, address = self.server()
        client, peer = self.open(remote_addr=address[:2])
        for number in range(20):
            client.sendto(b"%d" % number)
        client.close()
        self.wait(peer.ended)
        self.until(lambda: len(heard.received) == 20)

    def test_another_protocol_takes_over(self):
        server, peer, address = self.server()
        other = Peer(self.loop)
        server.set_protocol(other)
        self.assertIs(server.get_protocol(), other)
        client, _ = self.open(remote_addr=address[:2])
        client.sendto(b"x")
        self.until(lambda: other.received)
        self.assertEqual(peer.received, [])

    def test_a_socket_of_the_program_is_used_and_closed_with_the_transport(self):
        skt = socket.socket(type=socket.SOCK_DGRAM)
        skt.bind((ADDRESS, 0))
        address = skt.getsockname()
        transport, peer = self.open(sock=skt)
        client, _ = self.open(remote_addr=address[:2])
        client.sendto(b"x")
        self.until(lambda: peer.received)
        transport.close()
        self.wait(peer.ended)
        self.assertEqual(skt.fileno(), -1)

    def test_broadcast_and_sharing_a_port_are_allowed_when_asked_for(self):
        options = {"allow_broadcast": True}
        if hasattr(socket, "SO_REUSEPORT"):
            options["reuse_port"] = True
        transport, _ = self.open(local_addr=(ADDRESS, 0), **options)
        skt = transport.get_extra_info("socket")
        self.assertTrue(skt.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
        if "reuse_port" in options:
            self.open(local_addr=transport.get_extra_info("sockname"), reuse_port=True)

    def test_datagrams_of_a_group_come_to_those_who_joined_it(self):
        member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ADDRESS))
        member.bind(("", 0))
        port = member.getsockname()[1]
        joined = socket.inet_aton(GROUP) + socket.inet_aton(ADDRESS)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        transport, peer = self.open(sock=member)
        transport.sendto(b"to all", (GROUP, port))
        self.until(lambda: peer.received)
        self.assertEqual(peer.received, [(b"to all", (ADDRESS, port))])

    def test_a_transports_socket_is_not_for_readers(self):
        transport, peer, _ = self.server()
        skt = transport.get_extra_info("socket")
        for watched in (skt, skt.fileno()):
            with self.assertRaises(RuntimeError):
                self.loop.add_reader(watched, print)
        number = skt.fileno()
        transport.close()
        self.wait(peer.ended)
        self.assertFalse(self.loop.remove_reader(number))

    def test_reusing_an_address_is_refused(self):
        with self.assertRaises((ValueError, TypeError)):
            self.open(local_addr=(ADDRESS, 0), reuse_address=True)
        with self.assertWarns(DeprecationWarning):
            self.open(local_addr=(ADDRESS, 0), reuse_address=False)

    @needs_fork
    def test_a_forked_child_leaves_the_transports_to_its_parent(self):
        server, peer, address = self.server()
        client, _ = self.open(remote_addr=address)

        async def fork():
            child = os.fork()
            if child:
                return child
            try:
                client.sendto(b"from the child")
                client.close()
                server.abort()
                os._exit(0)
            finally:
                os._exit(1)

        child = self.wait(fork())
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        client.sendto(b"from the parent")
        self.until(lambda: peer.received)
        self.assertEqual([data for data, _ in peer.received], [b"from the parent"])

    def test_attributes_may_be_set(self):
        transport, _, _ = self.server()
        sent = []
        transport.sendto = lambda data, addr=None: sent.append(data)
        transport.sendto(b"x")
        self.assertEqual(sent, [b"x"])

    def test_a_loop_may_be_closed_with_open_transports(self):
        transport, _, address = self.server()
        self.loop.close()
        self.transports.clear()
        self.assertIn("DatagramTransport", repr(transport))
        transport.sendto(b"x", address)
        transport.close()
        transport.abort()
        with self.assertWarns(ResourceWarning):
            transport.__del__()
        transport._subject = None


@needs_posix
class UnixDatagrams(DatagramTestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def bound(self, name, protocol=Peer):
        skt = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = os.path.join(self.folder, name)
        skt.bind(path)
        return path, self.open(protocol, sock=skt)

    def test_senders_are_named_by_their_paths(self):
        (server, (_, heard)), (path, (client, answered)) = self.bound("server", Echo), self.bound("client")
        client.sendto(b"x", server)
        self.until(lambda: answered.received)
        self.assertEqual(heard.received, [(b"x", path)])
        self.assertEqual(answered.received, [(b"X", server)])

    def test_the_loop_binds_and_connects_paths(self):
        server, client = (os.path.join(self.folder, name) for name in ("server", "client"))
        _, heard = self.open(Echo, local_addr=server, family=socket.AF_UNIX)
        transport, answered = self.open(local_addr=client, remote_addr=server, family=socket.AF_UNIX)
        transport.sendto(b"x")
        self.until(lambda: answered.received)
        self.assertEqual(heard.received, [(b"x", client)])
        self.assertEqual(answered.received, [(b"X", server)])
        self.assertEqual(transport.get_extra_info("peername"), server)

    def test_a_peer_that_is_not_there_is_an_error(self):
        _, (client, peer) = self.bound("client")
        client.sendto(b"x", os.path.join(self.folder, "nobody"))
        self.assertIsInstance(peer.errors[0], FileNotFoundError)

    def test_a_slow_reader_pauses_the_protocol_and_loses_nothing(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(theirs.close)
        client, peer = self.open(sock=ours)
        client.set_write_buffer_limits(high=10_000)
        self.assertEqual(client.get_write_buffer_limits(), (2_500, 10_000))
        sent = 0
        while "pause" not in peer.flow:
            client.sendto(b"%06d" % sent + bytes(1000))
            sent += 1
        self.assertGreater(client.get_write_buffer_size(), 10_000)
        client.close()
        theirs.setblocking(False)
        got = []

        def read():
            try:
                got.append(int(theirs.recv(2000)[:6]))
            except BlockingIOError:
                pass
            return len(got) == sent

        self.until(read)
        self.assertEqual(got, list(range(sent)))
        self.wait(peer.ended)

    def test_the_protocol_resumes_once_the_reader_has_taken_all(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(theirs.close)
        client, peer = self.open(sock=ours)
        client.set_write_buffer_limits(high=0)
        while "pause" not in peer.flow:
            client.sendto(bytes(1000))
        theirs.setblocking(False)

        def read():
            try:
                theirs.recv(2000)
            except BlockingIOError:
                pass
            return "resume" in peer.flow

        self.until(read)
        self.assertEqual(peer.flow, ["pause", "resume"])
        self.assertEqual(client.get_write_buffer_size(), 0)

    def test_aborting_drops_what_is_queued(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(theirs.close)
        client, peer = self.open(sock=ours)
        client.set_write_buffer_limits(high=0)
        while "pause" not in peer.flow:
            client.sendto(bytes(1000))
        client.abort()
        self.wait(peer.ended)
        self.assertEqual(peer.lost, [None])


def load_tests(loader, tests, pattern):
    """Runs the tests on each port."""
    suite = unittest.TestSuite()
    for port in ports():
        for kind in (Datagrams, UnixDatagrams):
            on_port = type(f"{kind.__name__}_{port}", (kind,), {"port": port})
            suite.addTests(loader.loadTestsFromTestCase(on_port))
    return suite


if __name__ == "__main__":
    unittest.main()
