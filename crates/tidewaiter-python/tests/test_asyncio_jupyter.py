"""Jupyter's kernel and IPython's shell, unchanged, on our loop by the configuration that the manual shows."""

import contextlib
import json
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

import support
from support import needs_posix, on, ports

CONFIGURATION = """
import tidewaiter.asyncio

tidewaiter.asyncio.install()
"""
LIMIT_SECONDS = 60
CHILD = """
child = await asyncio.create_subprocess_exec('echo', 'from a child', stdout=asyncio.subprocess.PIPE)
(await child.communicate())[0].decode().strip()
"""


@contextlib.contextmanager
def configured(port):
    """The environment in which IPython is configured so."""
    with tempfile.TemporaryDirectory() as folder:
        profile = pathlib.Path(folder, "profile_default")
        profile.mkdir()
        profile.joinpath("ipython_config.py").write_text(CONFIGURATION)
        yield {**on(port), "IPYTHONDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def kernel(port):
    """A kernel that has begun: its manager and its client."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    with configured(port) as environment, unittest.mock.patch.dict("os.environ", environment):
        # UNIX sockets, because a TCP port may be taken between its choice and its use.
        place = pathlib.Path(environment["IPYTHONDIR"], "kernel")
        manager = KernelManager(transport="ipc", ip=str(place))
        manager._kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
        manager.start_kernel()
        client = manager.client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=LIMIT_SECONDS)
            yield manager, client
        finally:
            client.stop_channels()
            manager.shutdown_kernel()


def cell(client, code, printed=lambda text: None):
    """What comes of a cell: its value as text, or the name of its exception. Calls `printed` with what it prints."""
    results = []

    def look(message):
        content = message["content"]
        if message["msg_type"] == "stream":
            printed(content["text"])
        elif message["msg_type"] == "execute_result":
            results.append(content["data"]["text/plain"])
        elif message["msg_type"] == "error":
            results.append(content["ename"])

    client.execute_interactive(code, output_hook=look, timeout=LIMIT_SECONDS)
    return results


@needs_posix
class Jupyter(unittest.TestCase):
    def test_cells_of_a_kernel_run_on_our_loop(self):
        for port in ports():
            with self.subTest(port), kernel(port) as (_, client):
                found = cell(client, "import asyncio; type(asyncio.get_running_loop()).__module__")
                self.assertEqual(found, ["'tidewaiter.asyncio'"])
                self.assertEqual(cell(client, "asyncio.get_running_loop().metrics()['port']"), [repr(port)])
                self.assertEqual(cell(client, "await asyncio.sleep(0.01, 'slept')"), ["'slept'"])
                self.assertEqual(cell(client, CHILD), ["'from a child'"])

    def test_an_interrupt_ends_a_cell_and_not_the_kernel(self):
        for port in ports():
            with self.subTest(port), kernel(port) as (manager, client):
                cell(client, "import asyncio, threading, time")
                for waits in ("await asyncio.sleep(1000)", "time.sleep(1000)"):
                    interrupted = cell(client, f"print('begun'); {waits}", lambda _: manager.interrupt_kernel())
                    self.assertIn(interrupted, (["CancelledError"], ["KeyboardInterrupt"]))
                self.assertEqual(cell(client, "await asyncio.sleep(0.01, 'slept')"), ["'slept'"])

    def test_the_shell_of_ipython_awaits_on_our_loop(self):
        code = (
            "import asyncio, json;"
            "print(json.dumps([type(asyncio.get_running_loop()).__module__, await asyncio.sleep(0.01, 'slept')]))"
        )
        for port in ports():
            with self.subTest(port), configured(port) as environment:
                ended = support.run([sys.executable, "-m", "IPython", "-c", code], LIMIT_SECONDS, environment)
                self.assertEqual(ended.code, 0, ended)
                self.assertEqual(json.loads(ended.output.splitlines()[-1]), ["tidewaiter.asyncio", "slept"])


if __name__ == "__main__":
    unittest.main()
