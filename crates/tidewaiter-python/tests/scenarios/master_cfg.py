"""The configuration of the Buildbot master of test_buildbot.py, which copies it into the master's folder.

It starts one build on one worker at once. The file `port` gets the number of the port for the worker. When the build
is over, `result.json` gets its result, and the master stops.
"""

import json
import pathlib
import sys

from buildbot.plugins import schedulers, steps, util, worker
from buildbot.util.service import BuildbotService
from twisted.internet import defer, reactor
from twisted.internet.task import LoopingCall

PORT = "tcp:0:interface=127.0.0.1"
FOLDER = pathlib.Path(__file__).resolve().parent
LINES = 20_000


def _python(code):
    return [sys.executable, "-S", "-c", code]


class Witness(BuildbotService):
    """Reports the master's events to the test."""

    name = "witness"

    async def startService(self):
        await super().startService()
        self.looking = LoopingCall(self.look_for_port)
        self.looking.start(0.05)
        self.consumer = await self.master.mq.startConsuming(self.finished, ("builds", None, "finished"))

    def look_for_port(self):
        dispatcher = self.master.workers.pb.master.pbmanager.dispatchers.get(PORT)
        if dispatcher is not None and dispatcher.port is not None:
            FOLDER.joinpath("port.new").write_text(str(dispatcher.port.getHost().port))
            FOLDER.joinpath("port.new").rename(FOLDER / "port")
            self.looking.stop()

    def finished(self, _key, build):
        return defer.ensureDeferred(self.write_down(build))

    async def write_down(self, build):
        done = []
        for step in await self.master.data.get(("builds", build["buildid"], "steps")):
            logs = {}
            for log in await self.master.data.get(("steps", step["stepid"], "logs")):
                contents = await self.master.data.get(("logs", log["logid"], "contents"))
                logs[log["slug"]] = contents["content"]
            done.append({"name": step["name"], "results": step["results"], "logs": logs})
        FOLDER.joinpath("result.new").write_text(json.dumps({"results": build["results"], "steps": done}))
        FOLDER.joinpath("result.new").rename(FOLDER / "result.json")
        reactor.callLater(0, reactor.stop)


factory = util.BuildFactory(
    [
        steps.ShellCommand(
            name="hello", command="echo hello from $LOGNAME_OF_TEST", env={"LOGNAME_OF_TEST": "a shell"}
        ),
        steps.ShellCommand(name="lines", command=_python(f"for line in range({LINES}): print('line', line)")),
        steps.ShellCommand(name="error", command="echo to the error >&2; exit 3", flunkOnFailure=False),
        steps.ShellCommand(name="input", command=["cat"], initialStdin="what was given\n"),
        steps.ShellCommand(
            name="hangs", command="echo begun; sleep 1000 & wait", timeout=1, flunkOnFailure=False, sigtermTime=1
        ),
        steps.ShellCommand(name="pty", command=_python("import sys; print(sys.stdout.isatty())"), usePTY=True),
    ]
)

BuildmasterConfig = {
    "workers": [worker.Worker("worker", "secret")],
    "protocols": {"pb": {"port": PORT}},
    "builders": [util.BuilderConfig(name="builder", workernames=["worker"], factory=factory)],
    "schedulers": [schedulers.Periodic(name="once", builderNames=["builder"], periodicBuildTimer=100_000)],
    "services": [Witness()],
    "db": {"db_url": "sqlite:///state.sqlite"},
    "buildbotNetUsageData": None,
    "title": "test",
}
